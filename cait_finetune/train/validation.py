"""Measure and compare the epochs of a run on the validation split."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from cait_finetune.config.metrics import format_metrics


@dataclasses.dataclass(frozen=True)
class Validation:
    """Scores weights on the validation split.

    Args:
        measure: returns the metrics of the validation split for the weights that the model holds.
        metric: the metric that decides which epoch is best, such as ``top1``.
        train_metric: the metric that the loss measures on the training batches.
    """

    measure: Callable[[], dict[str, float]]
    metric: str
    train_metric: str = "accuracy"

    def score(self, metrics: Mapping[str, float]) -> tuple[float, float]:
        """Return the score; higher is better. Among equal metrics, the lower loss is better."""
        return metrics[self.metric], -metrics["loss"]

    def describe(self, metrics: Mapping[str, float]) -> str:
        """Return the metric in words, such as ``top-1 91.20%``."""
        return format_metrics(metrics, self.metric)
