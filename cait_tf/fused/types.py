"""Types that TensorFlow's stubs lack or leave open."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import tensorflow as tf

#: ``tf.custom_gradient``: the decorated function returns the tensor, without its gradient.
custom_gradient: Callable[[Callable], Callable[..., tf.Tensor]] = tf.custom_gradient


def sizes(x: tf.Tensor) -> tuple[int, ...]:
    """Return the static shape of `x`, whose axes are known except perhaps the batch's."""
    return cast("tuple[int, ...]", x.shape)
