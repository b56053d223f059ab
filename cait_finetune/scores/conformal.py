"""Intervals of predicted numbers by split conformal prediction.

Source: Vovk et al. 2005, "Algorithmic Learning in a Random World"; Lei et al. 2018, "Distribution-Free
Predictive Inference for Regression" (arXiv:1604.04173), algorithm 2.
"""

from __future__ import annotations

import math

import numpy as np


def fewest(alpha: float) -> int:
    """Return the smallest number of validation images for which an interval is finite."""
    return _whole(1 / alpha - 1)


def half_widths(predicted: np.ndarray, true: np.ndarray, alpha: float) -> np.ndarray:
    """Return half the width of each target's interval, ``(T,)`` float64, in the target's unit.

    The interval ``predicted ± half_width`` of a new image contains the true value with a probability of
    at least ``1 - alpha``, if the new image and the validation images are exchangeable. The half width
    is the k-th smallest absolute error of n validation images, k = ceil((n + 1)(1 - alpha)).

    Args:
        predicted: ``(n, T)``, of VALIDATION images.
        true: ``(n, T)``. NaN: the image has no value of this target.
        alpha: the share of images outside the interval, between 0 and 1.

    Returns:
        The half widths. Infinite, if a target has fewer than `fewest` values, or if too many predictions
        are not finite. A prediction that is not finite counts as an infinite error.
    """
    widths = []
    for errors, known in zip(
        np.abs(np.asarray(predicted, "float64") - true).T, ~np.isnan(true).T, strict=True
    ):
        ordered = np.sort(np.where(np.isnan(errors[known]), np.inf, errors[known]))
        place = _whole((len(ordered) + 1) * (1 - alpha))
        widths.append(ordered[place - 1] if place <= len(ordered) else math.inf)
    return np.array(widths)


def coverage(predicted: np.ndarray, true: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Return the share of true values inside ``predicted ± widths``, ``(T,)``. NaN: no true value.

    Args:
        predicted: ``(N, T)``.
        true: ``(N, T)``. NaN: the image has no value of this target.
        widths: ``(T,)``, from `half_widths`.
    """
    known = ~np.isnan(true)
    inside = (np.abs(np.asarray(predicted, "float64") - true) <= widths) & known
    with np.errstate(invalid="ignore"):
        return inside.sum(axis=0) / known.sum(axis=0)


def _whole(number: float) -> int:
    """Round up, but not because of a rounding error: ``10 * (1 - 0.7)`` is 3."""
    return math.ceil(round(number, 9))
