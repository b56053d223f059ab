"""Raise an error with a reason in TensorFlow's graph."""

from __future__ import annotations

import tensorflow as tf


def refused_unless(condition: tf.Tensor, reason: str | tf.Tensor, tensor: tf.Tensor) -> tf.Tensor:
    """Return `tensor` if `condition`, () bool, is true.

    Raises:
        tf.errors.InvalidArgumentError: `condition` is false. The message contains ``[reason]``.
    """
    with tf.control_dependencies([tf.debugging.Assert(condition, [reason])]):
        return tf.identity(tensor)
