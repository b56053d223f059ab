"""Metrics of each class: support, precision, recall, F1 and average precision."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cait_tf.atomic import atomic_open

_COLUMNS = 256  # multi-label classes per call of scikit-learn


@dataclasses.dataclass(frozen=True)
class ClassRow:
    """The metrics of one class, from 0 to 1. An undefined metric is nan.

    In a multi-label data set, a class is predicted if its probability is above one half.

    Attributes:
        support: number of images of the class.
        average_precision: multi-label only. It does not depend on a threshold.
    """

    name: str
    support: int
    precision: float
    recall: float
    f1: float
    average_precision: float = math.nan


def class_table(logits: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> list[ClassRow]:
    """Return one row per class, in label order. scikit-learn computes the metrics.

    Args:
        logits: ``(N, C)``.
        labels: ``(N,)`` class indices. Multi-label: ``(N, C)`` zeros and ones.
    """
    from sklearn.metrics import average_precision_score, precision_recall_fscore_support

    def scores(truth: np.ndarray, predicted: np.ndarray, asked: Sequence[int]) -> tuple:
        return precision_recall_fscore_support(truth, predicted, labels=asked, zero_division=np.nan)

    average = np.full(len(names), math.nan)
    if labels.ndim == 1:
        classes = list(range(len(names)))
        precision, recall, f1, support = scores(labels.astype(int), logits.argmax(axis=-1), classes)
    else:
        found = []
        # A few columns at a time, because integer copies of all columns would take much memory.
        for block in np.array_split(np.arange(len(names)), -(-len(names) // _COLUMNS)):
            truth, predicted = labels[:, block].astype(int), (logits[:, block] > 0).astype(int)
            if len(block) == 1:  # scikit-learn treats one column as a binary problem
                found.append(scores(truth[:, 0], predicted[:, 0], [1]))
            else:
                found.append(scores(truth, predicted, list(range(len(block)))))
        precision, recall, f1, support = map(np.concatenate, zip(*found, strict=True))
        for index in np.flatnonzero(labels.sum(axis=0)) if np.isfinite(logits).all() else ():
            average[index] = average_precision_score(labels[:, index].astype(int), logits[:, index])
    columns = zip(names, support, precision, recall, f1, average, strict=True)
    return [ClassRow(name, int(count), *map(float, rest)) for name, count, *rest in columns]


def write_class_table(rows: Sequence[ClassRow], path: Path) -> None:
    """Write a CSV file. A nan becomes an empty cell."""
    fields = [field.name for field in dataclasses.fields(ClassRow)]
    with atomic_open(path, newline="") as file:
        writer = csv.writer(file)
        writer.writerow(fields)
        for row in rows:
            writer.writerow(["" if value != value else value for value in vars(row).values()])
