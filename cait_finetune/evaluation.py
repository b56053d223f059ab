"""Accuracy and loss over every image of a split."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import keras
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Means over `examples` images; accuracies in [0, 1]; the loss without label smoothing."""

    top1: float
    top5: float
    loss: float
    examples: int


class Evaluator:
    """Evaluates a model again and again with one trace, on all replicas of a strategy."""

    def __init__(self, model: keras.Model, strategy: tf.distribute.Strategy | None = None) -> None:
        self._model = model
        self._strategy = strategy or tf.distribute.get_strategy()

    @tf.function(reduce_retracing=True)
    def _step(self, images: tf.Tensor, labels: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
        sums = self._strategy.run(self._sums, args=(images, labels, real))
        return tf.cast(self._strategy.reduce("SUM", sums, axis=None), tf.float64)

    def _sums(self, images: tf.Tensor, labels: tf.Tensor, real: tf.Tensor) -> tf.Tensor:
        """Of a replica's batch: top-1 and top-5 hits, images, and the sum of their losses, (4,)."""
        logits = self._model(images, training=False)  # (B, C)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)  # (B,)
        own = tf.gather(logits, labels, batch_dims=1)[:, None]  # (B, 1)
        # Ties count against the model: a constant output must not score 100 %.
        rank = tf.reduce_sum(tf.cast(logits >= own, tf.int32), axis=-1)  # (B,), 1 = top
        top5 = min(5, logits.shape[-1])
        ranked = rank >= 1  # not so for NaN, which compares with nothing
        columns = [ranked & (rank <= 1), ranked & (rank <= top5), tf.ones_like(real)]
        # Exact in float32, the widest that a TPU has: a batch holds few images.
        counts = [tf.reduce_sum(tf.cast(column & real, tf.float32)) for column in columns]
        loss = tf.reduce_sum(tf.where(real, losses, 0.0))
        return tf.stack([*counts, loss])

    def __call__(self, batches: Iterable) -> Evaluation:
        """One pass over ``(images, labels, real)``."""
        total = tf.zeros((4,), tf.float64)
        for images, labels, real in batches:
            total += self._step(images, labels, real)
        top1, top5, examples, loss = (float(value) for value in total)
        count = max(examples, 1.0)
        return Evaluation(top1 / count, top5 / count, loss / count, int(examples))
