"""What a loop over parts of a batch makes of weights: once, before it, and not for every part."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import keras
import tensorflow as tf

from cait_tf.tensorflow_kernels.compiled import exact

# The graph in which the loop is, and what has been made there already.
_around: ContextVar[tuple[tf.Graph, dict[tuple, tf.Tensor]] | None] = ContextVar(
    "around", default=None
)


@contextlib.contextmanager
def weights_before_loop() -> Iterator[None]:
    """Around a loop, while its body is traced, and in a graph."""
    token = _around.set((tf.compat.v1.get_default_graph(), {}))
    try:
        yield
    finally:
        _around.reset(token)


def rounded(kernel: Any, dtype: str) -> tf.Tensor:
    """`kernel` in the dtype of a product."""
    return _made(lambda kernel: tf.cast(kernel, dtype), "rounded", dtype, kernel)


def scaled(kernel: Any, gamma: Any, dtype: str) -> tf.Tensor:
    """``kernel * gamma``, (K, D) and (D,), multiplied before it is rounded."""

    def make(kernel: tf.Tensor, gamma: tf.Tensor) -> tf.Tensor:
        return tf.cast(exact(kernel) * exact(gamma), dtype)

    return _made(make, "scaled", dtype, kernel, gamma)


def _made(make: Callable[..., tf.Tensor], name: str, dtype: str, *weights: Any) -> tf.Tensor:
    around = _around.get()
    if around is None or not all(isinstance(one, keras.Variable) for one in weights):
        # Such as the sum of a kernel and its low-rank update: a tensor of the body.
        return make(*map(tf.convert_to_tensor, weights))
    graph, made = around
    key = (name, dtype, *map(id, weights))
    if key not in made:
        with graph.as_default():
            made[key] = make(*map(tf.convert_to_tensor, weights))
    return made[key]
