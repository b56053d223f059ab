"""Compute accuracy and loss over all images of a split, with one class or any number per image."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Protocol

import keras
import numpy as np
import tensorflow as tf

from cait_finetune.scores.regression import score_target
from cait_tf.fused.tensorflow import infer


class AnyEvaluation(Protocol):
    """The metrics of `examples` images."""

    @property
    def examples(self) -> int: ...

    def as_metrics(self) -> dict[str, float]:
        """Return the metrics that a run logs after a validation."""
        ...


class AnyEvaluator(Protocol):
    """A function that measures the loss and all metrics in one pass."""

    def __call__(self, batches: Iterable) -> AnyEvaluation:
        """Evaluate one pass over batches ``(images, labels, real)``. `real` is false for padding."""
        ...


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Means over `examples` images. Accuracies are in [0, 1]. The loss has no label smoothing.

    ``mean_per_class`` averages the top-1 accuracy of each class over the classes that have images.
    """

    top1: float
    top5: float
    loss: float
    examples: int
    mean_per_class: float

    def as_metrics(self) -> dict[str, float]:
        """Return the metrics that a run logs after a validation."""
        return {
            "loss": self.loss,
            "top1": self.top1,
            "top5": self.top5,
            "mean_per_class": self.mean_per_class,
        }


class Evaluator:
    """Evaluate a model repeatedly with one trace, on all replicas of a strategy."""

    def __init__(self, model: keras.Model, strategy: tf.distribute.Strategy | None = None) -> None:
        self._model = model
        self._strategy = strategy or tf.distribute.get_strategy()

    @tf.function(reduce_retracing=True, autograph=False)
    def _step(
        self, images: tf.Tensor, labels: tf.Tensor, real: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        sums = self._strategy.run(self._sums, args=(images, labels, real))
        return tuple(
            tf.cast(self._strategy.reduce("SUM", one, axis=None), tf.float64) for one in sums
        )

    def _sums(
        self, images: tf.Tensor, labels: tf.Tensor, real: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return `class_sums` of a replica's batch."""
        return class_sums(infer(self._model, images), labels, real)

    def __call__(self, batches: Iterable) -> Evaluation:
        """Evaluate one pass over batches ``(images, labels, real)``. `real` is false for padding."""
        totals, by_class = np.zeros(2), np.zeros((2, 1))
        for images, labels, real in batches:
            sums, of_classes = self._step(images, labels, real)
            totals, by_class = totals + sums.numpy(), by_class + of_classes.numpy()
        return evaluation_of(totals, by_class)


def class_sums(
    logits: tf.Tensor, labels: tf.Tensor, real: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return sums over a replica's batch, for images with one class each.

    Args:
        logits: ``(B, C)``.
        labels: ``(B,)`` int.
        real: ``(B,)`` bool. False: padding, which does not count.

    Returns:
        Top-5 hits and summed losses, ``(2,)`` float32; top-1 hits and images per class, ``(2, C)``
        float32.
    """
    losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)  # (B,)
    own = tf.gather(logits, labels, batch_dims=1)[:, None]  # (B, 1)
    # Ties count against the model: a constant output must not score 100 %.
    rank = tf.reduce_sum(tf.cast(logits >= own, tf.int32), axis=-1)  # (B,), 1 = top
    top5 = min(5, logits.shape[-1])
    ranked = rank >= 1  # false for a NaN logit, whose comparisons are all false
    # float32 counts a batch exactly. TPUs have no wider float.
    top5_hits = tf.reduce_sum(tf.cast(ranked & (rank <= top5) & real, tf.float32))
    loss = tf.reduce_sum(tf.where(real, losses, 0.0))
    columns = tf.stack([ranked & (rank <= 1) & real, real])  # (2, B)
    classes = tf.one_hot(labels, logits.shape[-1])  # (B, C)
    return tf.stack([top5_hits, loss]), tf.matmul(tf.cast(columns, tf.float32), classes)


def evaluation_of(totals: np.ndarray, by_class: np.ndarray) -> Evaluation:
    """Return the metrics, given the sums of `class_sums` added over all batches."""
    hits, images_of = by_class  # (C,)
    count = max(images_of.sum(), 1.0)
    present = images_of > 0
    mean = (hits[present] / images_of[present]).mean() if present.any() else 0.0
    top5, loss = totals / count
    return Evaluation(
        float(hits.sum() / count), float(top5), float(loss), int(images_of.sum()), float(mean)
    )


@dataclasses.dataclass(frozen=True)
class MultiLabelEvaluation:
    """Metrics of `examples` images with any number of labels each. The loss is binary cross-entropy.

    ``loss`` averages over all images and classes. ``mean_average_precision`` averages over the classes
    that have images. ``f1`` is the micro-averaged F1 score of the labels with a probability above 0.5.
    """

    mean_average_precision: float
    f1: float
    loss: float
    examples: int

    def as_metrics(self) -> dict[str, float]:
        """Return the metrics that a run logs after a validation."""
        return {
            "loss": self.loss,
            "mean_average_precision": self.mean_average_precision,
            "f1": self.f1,
        }


class MultiLabelEvaluator:
    """Evaluate as `Evaluator` does, but with ``labels`` (B, C) of zeros and ones."""

    def __init__(self, model: keras.Model, strategy: tf.distribute.Strategy | None = None) -> None:
        self._model = model
        self._strategy = strategy or tf.distribute.get_strategy()

    @tf.function(reduce_retracing=True, autograph=False)
    def _step(self, *batch: tf.Tensor) -> tuple[tf.Tensor, ...]:
        def forward(images: tf.Tensor, labels: tf.Tensor, real: tf.Tensor) -> tuple:
            # NCCL and the ring all-gather do not support booleans.
            return infer(self._model, images), labels, tf.cast(real, tf.int32)

        outputs = self._strategy.run(forward, args=batch)
        # Average precision needs the scores of all replicas.
        return tuple(self._strategy.gather(one, axis=0) for one in outputs)

    def collected(self, batches: Iterable) -> tuple[np.ndarray, np.ndarray]:
        """Return the outputs and labels of all real images, ``(N, C)`` each."""
        outputs, truths = [np.zeros((0, 0), "float32")], [np.zeros((0, 0), "float32")]
        for batch in batches:
            some, labels, real = (one.numpy() for one in self._step(*batch))
            outputs.append(some[real > 0])
            truths.append(labels[real > 0])
        return np.concatenate(outputs[1:] or outputs), np.concatenate(truths[1:] or truths)

    def __call__(self, batches: Iterable) -> MultiLabelEvaluation:
        """Evaluate one pass over batches ``(images, labels, real)``. `real` is false for padding."""
        from sklearn.metrics import average_precision_score

        logits, labels = self.collected(batches)
        if not logits.size:
            return MultiLabelEvaluation(0.0, 0.0, 0.0, 0)
        logits = logits.astype("float64")  # (N, C)
        with np.errstate(invalid="ignore"):
            losses = np.logaddexp(0.0, logits) - labels * logits
        present = labels.sum(axis=0) > 0
        precision = 0.0
        # A NaN has no rank. The loss is NaN and shows the problem.
        if present.any() and np.isfinite(logits).all():
            truth = labels[:, present].astype(int)
            precision = average_precision_score(truth, logits[:, present], average="macro")
        # scikit-learn's micro F1 of a single class counts true negatives as hits.
        wanted, given = labels > 0.5, logits > 0
        f1 = 2 * (wanted & given).sum() / max(wanted.sum() + given.sum(), 1)
        loss = losses.mean() if len(labels) else 0.0
        return MultiLabelEvaluation(float(precision), float(f1), float(loss), len(labels))


@dataclasses.dataclass(frozen=True)
class NumberEvaluation:
    """Regression metrics of `examples` images: means over the targets, as in scikit-learn.

    ``mae`` and ``rmse`` have the targets' units. ``loss`` is the mean squared error of each target
    divided by the variance of its true numbers.
    """

    r2: float
    mae: float
    rmse: float
    spearman: float
    loss: float
    examples: int

    def as_metrics(self) -> dict[str, float]:
        """Return the metrics that a run logs after a validation."""
        return {
            "loss": self.loss,
            "r2": self.r2,
            "mae": self.mae,
            "rmse": self.rmse,
            "spearman": self.spearman,
        }


class NumberEvaluator(MultiLabelEvaluator):
    """Evaluate as `Evaluator` does, but with numbers ``(B, T)`` in place of labels."""

    def __call__(self, batches: Iterable) -> NumberEvaluation:
        """Evaluate one pass over batches ``(images, numbers, real)``. `real` is false for padding."""
        predicted, true = self.collected(batches)
        if not len(true):
            return NumberEvaluation(0.0, 0.0, 0.0, 0.0, 0.0, 0)
        scores = [
            score_target(ours, theirs) for ours, theirs in zip(predicted.T, true.T, strict=True)
        ]
        means = {
            name: float(np.mean([getattr(one, name) for one in scores]))
            for name in ("r2", "mae", "rmse", "spearman")
        }
        variance = true.astype("float64").var(axis=0)
        squares = ((predicted.astype("float64") - true) ** 2).mean(axis=0)
        loss = float((squares / np.where(variance > 0, variance, 1.0)).mean())
        return NumberEvaluation(**means, loss=loss, examples=len(true))
