"""Metrics of predicted numbers, for each target and on average."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class TargetScores:
    """Metrics of one target over `examples` images. `mae` and `rmse` have the target's unit.

    Attributes:
        mae: mean absolute error.
        rmse: root of the mean squared error.
        r2: coefficient of determination: 1 - squared error / variance. 0 for a constant target.
        spearman: rank correlation, from -1 to 1. 0 for constant predictions or a constant target.
    """

    mae: float
    rmse: float
    r2: float
    spearman: float
    examples: int


def score_target(predicted: np.ndarray, true: np.ndarray) -> TargetScores:
    """Return the metrics of one target.

    Args:
        predicted: ``(N,)``.
        true: ``(N,)``. NaN: the image has no value, and does not count.

    Returns:
        The metrics. All are 0 without an image; `r2` and `spearman` are NaN if a prediction is.
    """
    known = ~np.isnan(true)
    predicted, true = np.asarray(predicted, "float64")[known], np.asarray(true, "float64")[known]
    if not len(true):
        return TargetScores(0.0, 0.0, 0.0, 0.0, 0)
    errors = predicted - true
    # The mean of equal numbers may round, which would give a spread above 0.
    spread = ((true - true.mean()) ** 2).sum() if np.ptp(true) else 0.0
    r2 = 1 - (errors**2).sum() / spread if spread else 0.0
    return TargetScores(
        float(np.abs(errors).mean()),
        float(np.sqrt((errors**2).mean())),
        float(r2),
        _spearman(predicted, true),
        len(true),
    )


def score_targets(
    predicted: np.ndarray, true: np.ndarray, names: Sequence[str]
) -> Mapping[str, TargetScores]:
    """Return the metrics of each target by its name.

    Args:
        predicted: ``(N, T)``.
        true: ``(N, T)``. NaN: the image has no value of this target.
        names: the targets, T.
    """
    columns = zip(names, predicted.T, true.T, strict=True)
    return {name: score_target(ours, theirs) for name, ours, theirs in columns}


def _spearman(predicted: np.ndarray, true: np.ndarray) -> float:
    """Return the correlation of the ranks. Equal values share the mean of their ranks."""
    from scipy.stats import rankdata

    if np.isnan(predicted).any():
        return float("nan")
    ranks = np.stack([rankdata(predicted), rankdata(true)])  # (2, N)
    ranks -= ranks.mean(axis=1, keepdims=True)
    lengths = np.sqrt((ranks**2).sum(axis=1))
    return float(ranks[0] @ ranks[1] / lengths.prod()) if lengths.all() else 0.0
