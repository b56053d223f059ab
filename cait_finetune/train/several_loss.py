"""The training loss of images with one class of each of several labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from cait_finetune.config import LossConfig
from cait_finetune.train.loss import Loss, class_loss, needs_counts, top1


@dataclasses.dataclass(frozen=True)
class SeveralLosses:
    """The weighted mean of a loss for each label, for images with one class of each.

    Labels are ``(B, C)``. The columns of a label hold class probabilities times the example's weight.
    All are 0 where the label is missing, and the example then has no loss of that label.

    Attributes:
        columns: the columns of each label.
        losses: the loss of each label. It weighs an example by the sum of its columns.
        factors: the factor of each label's loss.
    """

    columns: Sequence[slice]
    losses: Sequence[Loss]
    factors: Sequence[float]

    def __call__(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        parts = zip(self.columns, self.losses, self.factors, strict=True)
        return tf.add_n(
            [
                factor * loss(labels[:, columns], logits[:, columns])
                for columns, loss, factor in parts
            ]
        )

    def correct(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Return the fraction of an example's labels whose class is predicted."""
        there = tf.stack(
            [
                tf.cast(tf.reduce_sum(labels[:, one], axis=-1) > 0, tf.float32)
                for one in self.columns
            ]
        )  # (L, B)
        hits = tf.stack([top1(labels[:, one], logits[:, one]) for one in self.columns])
        return tf.math.divide_no_nan(
            tf.reduce_sum(hits * there, axis=0), tf.reduce_sum(there, axis=0)
        )


def several_losses(
    config: LossConfig,
    smoothing: float,
    columns: Sequence[slice],
    weights: Sequence[float],
    counts: np.ndarray,
    examples: int,
    weighted: bool = False,
) -> SeveralLosses:
    """Return the configured loss for images with one class of each of several labels.

    The loss of a label is divided by the share of training images that have the label. Its mean over
    the batch is then, on average, the mean over the images that have the label. The share is a constant,
    so that the result does not depend on replicas and micro-batches. The weights are divided by their
    sum, so that the loss and its gradient do not grow with the number of labels.

    Args:
        smoothing: label smoothing.
        columns: the columns of each label.
        weights: the weight of each label, 0 or more, not all 0.
        counts: training images of each class, ``(C,)``.
        examples: number of training images.
        weighted: whether the labels are multiplied by the example's weight.
    """
    losses, factors = [], []
    for weight, own in zip(weights, columns, strict=True):
        having = int(counts[own].sum())
        of_classes = counts[own] if needs_counts(config) else None
        # Without weights or missing labels, the loss equals that of this label alone, bit for bit.
        weighed = weighted or having < examples
        losses.append(class_loss(config, smoothing, weighed, of_classes, having))
        factors.append(float(weight / sum(weights) * examples / having))
    return SeveralLosses(columns, losses, factors)
