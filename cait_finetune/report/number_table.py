"""Tables of predicted numbers: the metrics of each target, and the images with the largest errors."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from cait_finetune.scores.conformal import coverage
from cait_finetune.scores.regression import score_target
from cait_tf.atomic import atomic_open


@dataclasses.dataclass(frozen=True)
class TargetRow:
    """The metrics of one target. A number that is undefined or not finite is NaN.

    All numbers but `r2`, `spearman` and `coverage` have the target's unit.

    Attributes:
        target: the name.
        images: number of images with a true value.
        not_finite: number of these images with a prediction of NaN or infinity. One makes `mae`,
            `rmse` and `r2` NaN.
        mae: mean absolute error.
        rmse: root of the mean squared error.
        r2: coefficient of determination. NaN for a constant target.
        spearman: rank correlation. NaN for a constant target.
        mean: mean of the true values.
        std: standard deviation of the true values, with the divisor `images`.
        mae_of_median: mean absolute error of the best constant prediction. The median of the same
            true values minimises it.
        half_width: half the width of the interval. NaN: the target has no finite interval.
        coverage: share of the true values inside the interval, from 0 to 1.
    """

    target: str
    images: int
    not_finite: int
    mae: float
    rmse: float
    r2: float
    spearman: float
    mean: float
    std: float
    mae_of_median: float
    half_width: float
    coverage: float


@dataclasses.dataclass(frozen=True)
class ImageError:
    """The target with the largest error of one image.

    Attributes:
        id: the image.
        target: the target's name.
        true: the true value.
        predicted: the predicted value. It may be NaN or infinite.
        error: predicted minus true, in standard deviations of the target's true values. NaN: the
            prediction is not finite, or the target is constant.
    """

    id: str
    target: str
    true: float
    predicted: float
    error: float


def target_table(
    predicted: np.ndarray, true: np.ndarray, names: Sequence[str], widths: np.ndarray
) -> list[TargetRow]:
    """Return one row per target, in the order of `names`.

    Args:
        predicted: ``(N, T)``.
        true: ``(N, T)``. NaN: the image has no value of this target.
        names: the targets, T.
        widths: half the width of each target's interval, ``(T,)``. Not finite: no interval.
    """
    predicted, true = np.asarray(predicted, "float64"), np.asarray(true, "float64")
    widths = np.asarray(widths, "float64")
    inside = coverage(predicted, true, widths)
    return [
        _row(name, *columns)
        for name, *columns in zip(names, predicted.T, true.T, widths, inside, strict=True)
    ]


def _row(
    name: str, predicted: np.ndarray, true: np.ndarray, width: float, inside: float
) -> TargetRow:
    known = ~np.isnan(true)
    predicted, true = predicted[known], true[known]
    images, not_finite = len(true), int((~np.isfinite(predicted)).sum())
    nan = math.nan
    has_interval = math.isfinite(width)
    half_width = float(width) if has_interval else nan
    if not images:
        return TargetRow(name, 0, 0, nan, nan, nan, nan, nan, nan, nan, half_width, nan)
    varies, finite = bool(np.ptp(true)), not not_finite
    with np.errstate(invalid="ignore"):  # the difference to an infinite prediction
        scores = score_target(predicted, true)
    return TargetRow(
        target=name,
        images=images,
        not_finite=not_finite,
        mae=scores.mae if finite else nan,
        rmse=scores.rmse if finite else nan,
        r2=scores.r2 if finite and varies else nan,
        spearman=scores.spearman if varies else nan,
        mean=float(true.mean()),
        std=float(_std(true)),
        mae_of_median=float(np.abs(true - np.median(true)).mean()),
        half_width=half_width,
        coverage=float(inside) if has_interval else nan,
    )


def image_errors(
    ids: Sequence[str], predicted: np.ndarray, true: np.ndarray, names: Sequence[str]
) -> list[ImageError]:
    """Return the largest error of each image, the worst image first.

    Errors are compared in standard deviations of the target. A prediction that is not finite counts
    as the worst, and an error of a constant target as the least bad. An image without a true value
    has no row.

    Args:
        ids: the images, N.
        predicted: ``(N, T)``.
        true: ``(N, T)``. NaN: the image has no value of this target.
        names: the targets, T.
    """
    predicted, true = np.asarray(predicted, "float64"), np.asarray(true, "float64")
    known, finite = ~np.isnan(true), np.isfinite(predicted)
    std = np.array([_std(column[one]) for column, one in zip(true.T, known.T, strict=True)])
    with np.errstate(invalid="ignore", divide="ignore"):
        difference = predicted - true  # (N, T)
        errors = np.where((std > 0) & finite, difference / std, np.nan)
        # Errors of constant targets have no scale: they get ranks below 0, in their own order.
        badness = np.where(std > 0, np.abs(errors), -1 / (1 + np.abs(difference)))
    badness[~finite] = np.inf
    badness[~known] = -np.inf
    worst = badness.argmax(axis=1)  # (N,)
    order = np.argsort(-badness.max(axis=1), kind="stable")
    return [
        ImageError(ids[i], names[t], float(true[i, t]), float(predicted[i, t]), float(errors[i, t]))
        for i, t in zip(order, worst[order], strict=True)
        if known[i, t]
    ]


def _std(values: np.ndarray) -> float:
    """Return the standard deviation. Equal values give exactly 0, because their mean may be rounded."""
    return values.std() if len(values) and np.ptp(values) else 0.0


def write_target_table(rows: Iterable[TargetRow], path: Path) -> None:
    """Write ``targets.csv``: one row per target. NaN becomes an empty cell.

    Raises:
        OSError: the file cannot be written.
    """
    _write(rows, TargetRow, path)


def write_image_errors(rows: Iterable[ImageError], path: Path) -> None:
    """Write ``errors.csv``: one row per image. A number that is not finite becomes an empty cell.

    Raises:
        OSError: the file cannot be written.
    """
    _write(rows, ImageError, path)


def _write(rows: Iterable[object], kind: type, path: Path) -> None:
    with atomic_open(path, newline="") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in dataclasses.fields(kind))
        writer.writerows([_cell(value) for value in vars(row).values()] for row in rows)


def _cell(value: object) -> object:
    """Return a float with 8 significant digits, an empty text if it is not finite, or the value."""
    if not isinstance(value, float):
        return value
    return f"{value:.8g}" if math.isfinite(value) else ""
