"""The 95 % bootstrap intervals of mean average precision, of R², and of accuracies of several labels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cait_finetune.scores.intervals import CONFIDENCE, Interval
from cait_finetune.scores.predictions import Predictions
from cait_tf.label_groups import label_groups

#: A function from ``counts`` (N,), the number of times that each image was drawn, to a metric.
Resampled = Callable[[np.ndarray], float]

_DRAWS = (200, 1000)  # fewest and most draws
_LOGITS = 100_000_000  # draws times logits per draw, unless _DRAWS limits the draws
_FEWEST = 10  # images: smaller samples often repeat a single image, whose R² is undefined
_LEAST_SPREAD = 1e-12  # sum of squares of a resampled target, relative to the whole split
_MOST = 10_000_000  # logits of a split: each draw takes up to 0.25 s and half a gigabyte


def average_precision_interval(predictions: Predictions) -> Interval | None:
    """Return the interval of a split's mean average precision.

    `None`: the split has no images or more than 10 million logits, a logit is not finite, or all samples
    give the same value, as for a model without mistakes.
    """
    logits = predictions.logits
    if not logits.size or logits.size > _MOST or not np.isfinite(logits).all():
        return None
    draws = int(np.clip(_LOGITS // logits.size, *_DRAWS))
    metric = mean_average_precision(logits, predictions.labels)
    return bootstrap(metric, len(logits), draws)


def r2_interval(predictions: Predictions) -> Interval | None:
    """Return the interval of R², averaged over the targets.

    `None`: the split has fewer than 10 images, or as for `average_precision_interval`.
    """
    predicted, true = predictions.logits.astype("float64"), predictions.labels.astype("float64")
    if not predicted.size or predicted.size > _MOST or not np.isfinite(predicted).all():
        return None
    if len(predicted) < _FEWEST:
        return None
    squares = (predicted - true) ** 2  # (N, T)
    spread_of_all = np.where(
        np.ptp(true, axis=0) > 0, ((true - true.mean(axis=0)) ** 2).sum(axis=0), np.inf
    )

    def metric(counts: np.ndarray) -> float:
        mean = counts @ true / counts.sum()  # (T,)
        spread = counts @ (true - mean) ** 2
        varies = spread > _LEAST_SPREAD * spread_of_all  # the mean of equal numbers may round
        errors = (counts @ squares) / np.where(varies, spread, 1.0)
        return float(np.where(varies, 1 - errors, 0.0).mean())  # as `score_target`

    draws = int(np.clip(_LOGITS // predicted.size, *_DRAWS))
    return bootstrap(metric, len(predicted), draws)


def label_mean_intervals(predictions: Predictions) -> dict[str, Interval]:
    """Return the intervals of top-1 and of mean per class, averaged over several labels, by metric.

    A metric is left out if all samples give the same value. All are left out for a split with no
    images or more than 10 million logits.
    """
    logits = predictions.logits
    if not logits.size or logits.size > _MOST:
        return {}
    draws = int(np.clip(_LOGITS // logits.size, *_DRAWS))
    found = {
        name: bootstrap(label_mean(predictions, per_class), len(logits), draws)
        for name, per_class in (("top1", False), ("mean_per_class", True))
    }
    return {name: interval for name, interval in found.items() if interval is not None}


def label_mean(predictions: Predictions, per_class: bool) -> Resampled:
    """Return the accuracy, averaged over the labels that the images have, as a function of counts.

    Args:
        predictions: columns named ``label=class``, with labels ``(N, C)`` of zeros and ones.
        per_class: average the accuracies of a label's classes. False: average over the label's images.
    """
    labels = []
    for group in label_groups(predictions.class_names):
        truth = predictions.labels[:, group.columns]
        rows = np.flatnonzero(truth.any(axis=1))
        classes, logits = truth[rows].argmax(axis=1), predictions.logits[rows][:, group.columns]
        own = np.take_along_axis(logits, classes[:, None], axis=1)
        hits = (logits >= own).sum(axis=1) == 1  # as `class_sums`: a tie is a mistake
        labels.append((rows, classes, hits))

    def metric(counts: np.ndarray) -> float:
        found = []
        for rows, classes, hits in labels:
            drawn = counts[rows]
            images = np.bincount(classes, drawn)
            right = np.bincount(classes, drawn * hits)
            present = images > 0
            if not present.any():
                continue
            accuracy = right[present] / images[present]
            found.append(accuracy.mean() if per_class else right.sum() / images.sum())
        return float(np.mean(found)) if found else 0.0

    return metric


def bootstrap(metric: Resampled, examples: int, draws: int) -> Interval | None:
    """Return the percentile interval of a metric over `draws` samples of the images with replacement.

    Equal predictions have equal intervals: the draws depend on the numbers of images and draws only.
    Close to 0 and 1 the interval is too narrow, because the samples repeat the few mistakes.

    Returns:
        The interval. `None`: all samples give the same value.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapter 13.
    """
    random = np.random.default_rng(0)
    values = [
        metric(np.bincount(random.integers(examples, size=examples), minlength=examples))
        for _ in range(draws)
    ]
    low, high = np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return (float(low), float(high)) if max(values) > min(values) else None


def mean_average_precision(logits: np.ndarray, labels: np.ndarray) -> Resampled:
    """Return scikit-learn's macro average precision over the classes with images, as a function of counts.

    The logits are sorted once, for all draws.

    Args:
        logits: ``(N, C)``.
        labels: ``(N, C)`` of zeros and ones.
    """
    order = np.argsort(-logits, axis=0, kind="stable")  # (N, C)
    ordered = np.take_along_axis(logits, order, axis=0)
    hits = np.take_along_axis(labels, order, axis=0) > 0.5
    # Equal logits share the precision at the last row that has them.
    rows = np.arange(len(logits))[:, None]
    ends = np.where(
        np.vstack([ordered[1:] != ordered[:-1], np.ones_like(ordered[:1], bool)]), rows, len(logits)
    )
    last = np.minimum.accumulate(ends[::-1], axis=0)[::-1]  # (N, C)

    def metric(counts: np.ndarray) -> float:
        drawn = counts[order]  # (N, C)
        found = np.cumsum(drawn * hits, axis=0)
        precision = found / np.maximum(np.cumsum(drawn, axis=0), 1)
        present = found[-1] > 0
        if not present.any():
            return 0.0
        weighted = (drawn * hits * np.take_along_axis(precision, last, axis=0)).sum(axis=0)
        return float((weighted[present] / found[-1, present]).mean())

    return metric
