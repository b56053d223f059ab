"""Metrics of images with one class for each of several labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from cait_finetune.config.metrics import of_label
from cait_finetune.scores.evaluation import Evaluation, class_sums, evaluation_of
from cait_tf.fused.tensorflow import infer
from cait_tf.label_groups import label_groups


@dataclasses.dataclass(frozen=True)
class SeveralEvaluation:
    """The metrics of each label over the images that have it, and their means over the labels.

    A label that no image has does not count in the means, and has no metric.

    Attributes:
        labels: the metrics of each label, by its name.
        examples: number of images.
    """

    labels: Mapping[str, Evaluation]
    examples: int

    def as_metrics(self) -> dict[str, float]:
        """Return the metrics that a run logs after a validation: the means, then each label's top-1."""
        present = {name: one for name, one in self.labels.items() if one.examples}
        averaged = list((present or self.labels).values())
        means = {
            name: float(np.mean([getattr(one, name) for one in averaged]))
            for name in ("loss", "top1", "mean_per_class")
        }
        return means | {of_label("top1", name): one.top1 for name, one in present.items()}


class SeveralEvaluator:
    """Evaluate as `Evaluator` does, but with ``labels`` (B, C) of zeros and ones.

    An image without a class of a label does not count for that label.

    Args:
        class_names: names of the columns, as `label_groups` reads them.
    """

    def __init__(
        self,
        model: keras.Model,
        class_names: Sequence[str],
        strategy: tf.distribute.Strategy | None = None,
    ) -> None:
        self._model = model
        self._groups = label_groups(class_names)
        self._strategy = strategy or tf.distribute.get_strategy()

    @tf.function(reduce_retracing=True, autograph=False)
    def _step(self, images: tf.Tensor, labels: tf.Tensor, real: tf.Tensor) -> list[tf.Tensor]:
        sums = self._strategy.run(self._sums, args=(images, labels, real))
        return [tf.cast(self._strategy.reduce("SUM", one, axis=None), tf.float64) for one in sums]

    def _sums(self, images: tf.Tensor, labels: tf.Tensor, real: tf.Tensor) -> list[tf.Tensor]:
        """Return the number of images in a replica's batch, then both of `class_sums` of each label."""
        logits = infer(self._model, images)  # (B, C)
        found = [tf.reduce_sum(tf.cast(real, tf.float32))]
        for group in self._groups:
            own = labels[:, group.columns]  # (B, C of the label)
            there = real & (tf.reduce_max(own, axis=-1) > 0.5)  # (B,)
            number = tf.argmax(own, axis=-1, output_type=tf.int32)  # (B,)
            found.extend(class_sums(logits[:, group.columns], number, there))
        return found

    def __call__(self, batches: Iterable) -> SeveralEvaluation:
        """Evaluate one pass over batches ``(images, labels, real)``. `real` is false for padding."""
        totals = [np.zeros(2) for _ in self._groups]
        by_class = [np.zeros((2, len(group.classes))) for group in self._groups]
        examples = 0.0
        for images, labels, real in batches:
            count, *sums = [one.numpy() for one in self._step(images, labels, real)]
            totals = [old + new for old, new in zip(totals, sums[::2], strict=True)]
            by_class = [old + new for old, new in zip(by_class, sums[1::2], strict=True)]
            examples += count
        rows = zip(self._groups, totals, by_class, strict=True)
        return SeveralEvaluation(
            {group.name: evaluation_of(sums, classes) for group, sums, classes in rows},
            int(examples),
        )
