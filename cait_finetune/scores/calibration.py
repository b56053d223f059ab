"""Measure calibration (expected calibration error) and improve it (temperature scaling).

Source: Guo et al. 2017, "On Calibration of Modern Neural Networks" (arXiv:1706.04599).
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from cait_finetune.scores.activation import Activation

#: Number of bins in the figures and tables of the paper.
BINS = 15
#: Least number of images for the fit of a temperature. A fit on fewer depends on single images.
LEAST = 50
#: Lower temperatures would magnify rounding of the logits. Higher temperatures give almost equal
#: probabilities.
LIMITS = (0.05, 20.0)


@dataclasses.dataclass(frozen=True)
class Reliability:
    """Confidence and accuracy in M equal-width bins, ``(m-1)/M < confidence <= m/M``.

    Attributes:
        count: number of answers in each bin ``(M,)``.
        confidence: mean confidence in each bin ``(M,)``, nan for an empty bin.
        accuracy: fraction of right answers in each bin ``(M,)``, nan for an empty bin.
    """

    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error: mean ``|accuracy - confidence|``, weighted by the bin's count."""
        gaps = np.abs(self.accuracy - self.confidence)
        return float(np.nansum(gaps * self.count) / max(self.count.sum(), 1))


def reliability(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> Reliability:
    """Sort answers into bins by confidence.

    Args:
        confidence: ``(N,)`` from 0 to 1.
        right: ``(N,)``, whether each answer is right.
        bins: number of bins.
    """
    confidence = np.nan_to_num(np.asarray(confidence, "float64"))  # NaN counts as confidence 0
    number = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(number, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = (
            np.bincount(number, weights=values, minlength=bins) / count
            for values in (confidence, np.asarray(right, "float64"))
        )
        return Reliability(count, *means)


def negative_log_likelihood(
    activation: Activation, logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0
) -> float:
    """Return the mean negative log-likelihood, as `Activation.likelihood` averages it."""
    return activation.likelihood(logits, labels, 1 / temperature)[0]


def fit_temperature(activation: Activation, logits: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature within `LIMITS` that minimises the negative log-likelihood.

    Pass VALIDATION images. L-BFGS in float64 minimises over the logarithm of the inverse temperature.
    The negative log-likelihood is convex in the inverse temperature, so L-BFGS finds the single
    minimum.

    Args:
        logits: ``(N, C)``.
        labels: as `activation` takes them.

    Returns:
        The temperature. It is 1.0 if a logit is not finite, or if every answer is right: each lower
        temperature then has a higher likelihood.
    """
    from scipy.optimize import minimize

    if not np.isfinite(logits).all() or activation.all_right(logits, labels):
        return 1.0

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        inverse = math.exp(x[0])
        loss, slope = activation.likelihood(logits, labels, inverse)
        return loss, np.array([slope * inverse])

    bounds = sorted(-math.log(limit) for limit in LIMITS)
    found = minimize(
        objective, np.zeros(1), jac=True, method="L-BFGS-B", bounds=[bounds],
        options={"ftol": 1e-14, "gtol": 1e-9},
    )  # fmt: skip
    return math.exp(-found.x[0])
