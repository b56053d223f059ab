"""An error with a reason, raised in TensorFlow's graph."""

from __future__ import annotations

import tensorflow as tf


def refused_unless(condition: tf.Tensor, reason: str, tensor: tf.Tensor) -> tf.Tensor:
    """`tensor`, if `condition` () bool holds.

    Raises:
        tf.errors.InvalidArgumentError: it does not; the message has ``[reason]`` in it.
    """
    with tf.control_dependencies([tf.debugging.Assert(condition, [reason])]):
        return tf.identity(tensor)
