"""The training loss."""

from __future__ import annotations

import tensorflow as tf


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor, smoothing: float = 0.0) -> tf.Tensor:
    """Cross-entropy of each example, ``(B,)``, from integer labels ``(B,)`` and logits ``(B, C)``.

    With label smoothing s the target is ``1 - s + s/C`` for the label and ``s/C`` for the others
    (Szegedy et al. 2016).
    """
    classes = logits.shape[-1]
    targets = tf.one_hot(labels, classes, on_value=1.0 - smoothing + smoothing / classes,
                         off_value=smoothing / classes)  # (B, C)  # fmt: skip
    return tf.nn.softmax_cross_entropy_with_logits(targets, logits)
