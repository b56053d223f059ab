"""The training loss."""

from __future__ import annotations

import tensorflow as tf


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor, smoothing: float = 0.0) -> tf.Tensor:
    """Cross-entropy of each example, ``(B,)``, from logits ``(B, C)``.

    Labels are integers ``(B,)`` or shares of the classes ``(B, C)``. With label smoothing s a share
    of t becomes ``(1 - s) t + s/C`` (Szegedy et al. 2016).
    """
    classes = logits.shape[-1]
    shares = tf.one_hot(labels, classes) if labels.shape.rank == 1 else labels  # (B, C)
    targets = shares * (1.0 - smoothing) + smoothing / classes
    return tf.nn.softmax_cross_entropy_with_logits(targets, logits)
