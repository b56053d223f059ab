"""Measure calibration (expected calibration error) and improve it (temperature scaling).

Source: Guo et al. 2017, "On Calibration of Modern Neural Networks" (arXiv:1706.04599).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np

#: Number of bins in the figures and tables of the paper.
BINS = 15
#: Least number of images for the fit of a temperature. A fit on fewer depends on single images.
LEAST = 50
#: Lower temperatures would magnify rounding of the logits. Higher temperatures give almost equal
#: probabilities.
LIMITS = (0.05, 20.0)
_ROWS = 4096  # rows per partial sum
_ELEMENTS = 2**21  # limit on float64 values in a chunk, which bounds the memory


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


def probabilities(
    logits: np.ndarray, temperature: float = 1.0, multi_label: bool = False
) -> np.ndarray:
    """Return ``softmax(logits / temperature)``, or the sigmoid with `multi_label`: ``(N, C)`` float64."""
    scaled = np.asarray(logits, "float64") / temperature
    if multi_label:
        return np.exp(-np.logaddexp(0.0, -scaled))
    odds = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return odds / odds.sum(axis=-1, keepdims=True)


def answers(
    logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0, multi_label: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return the confidences and correctness that `reliability` takes.

    With one label per image, both are ``(N,)``: the top class's probability and whether that class is
    right. With `multi_label`, each class of each image gives an answer, so both are ``(N * C,)``: the
    class's probability and whether the image has the class.
    """
    confidence, right = [], []
    for part in _parts(logits):
        rows, truth = logits[part], labels[part]
        p = probabilities(rows, temperature, multi_label)
        confidence.append(p.ravel() if multi_label else p.max(axis=-1))
        right.append(truth.ravel() > 0.5 if multi_label else rows.argmax(axis=-1) == truth)
    return np.concatenate(confidence), np.concatenate(right)


def negative_log_likelihood(
    logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0, multi_label: bool = False
) -> float:
    """Return the mean negative log-likelihood over images, and over classes too with `multi_label`."""
    return _likelihood(logits, labels, 1 / temperature, multi_label)[0]


def fit_temperature(logits: np.ndarray, labels: np.ndarray, multi_label: bool = False) -> float:
    """Return the temperature within `LIMITS` that minimises the negative log-likelihood.

    Pass VALIDATION images. L-BFGS in float64 minimises over the logarithm of the inverse temperature.
    The negative log-likelihood is convex in the inverse temperature, so L-BFGS finds the single
    minimum.

    Args:
        logits: ``(N, C)``.
        labels: ``(N,)`` classes, or ``(N, C)`` zeros and ones with `multi_label`.

    Returns:
        The temperature. It is 1.0 if a logit is not finite, or if every answer is right: each lower
        temperature then has a higher likelihood.
    """
    from scipy.optimize import minimize

    if not np.isfinite(logits).all() or _all_right(logits, labels, multi_label):
        return 1.0

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        inverse = math.exp(x[0])
        loss, slope = _likelihood(logits, labels, inverse, multi_label)
        return loss, np.array([slope * inverse])

    bounds = sorted(-math.log(limit) for limit in LIMITS)
    found = minimize(
        objective, np.zeros(1), jac=True, method="L-BFGS-B", bounds=[bounds],
        options={"ftol": 1e-14, "gtol": 1e-9},
    )  # fmt: skip
    return math.exp(-found.x[0])


def _all_right(logits: np.ndarray, labels: np.ndarray, multi_label: bool) -> bool:
    if multi_label:
        return bool(((logits > 0) == (labels > 0.5)).all())
    return bool((logits.argmax(axis=-1) == labels).all())


def _likelihood(
    logits: np.ndarray, labels: np.ndarray, inverse: float, multi_label: bool
) -> tuple[float, float]:
    """Return the mean negative log-likelihood of ``inverse * logits`` and its derivative by `inverse`."""
    loss = slope = 0.0
    for start in range(0, len(logits), _ROWS):
        chunk, y = logits[start : start + _ROWS], labels[start : start + _ROWS]
        if multi_label:
            z = np.asarray(chunk, "float64")  # (n, C)
            p = probabilities(z, 1 / inverse, multi_label)
            loss += (np.logaddexp(0.0, inverse * z) - inverse * z * y).sum()
            slope += ((p - y) * z).sum()
            continue
        rows = [_row_likelihood(chunk[part], y[part], inverse) for part in _parts(chunk)]
        losses, slopes = map(np.concatenate, zip(*rows, strict=True))
        loss += losses.sum()
        slope += slopes.sum()
    count = logits.size if multi_label else len(logits)
    return float(loss / count), float(slope / count)


def _row_likelihood(
    logits: np.ndarray, labels: np.ndarray, inverse: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return each image's negative log-likelihood ``(n,)`` and its derivative by `inverse` ``(n,)``."""
    z = np.asarray(logits, "float64")  # (n, C)
    own = np.take_along_axis(z, np.asarray(labels)[:, None].astype(int), axis=-1)  # (n, 1)
    top = z.max(axis=-1, keepdims=True)
    norm = np.log(np.exp(inverse * (z - top)).sum(axis=-1)) + inverse * top[:, 0]
    mean = (probabilities(z, 1 / inverse) * z).sum(axis=-1)
    return norm - inverse * own[:, 0], mean - own[:, 0]


def _parts(logits: np.ndarray) -> Iterator[slice]:
    """Yield slices of the rows of ``(N, C)`` with at most `_ELEMENTS` values, or one row."""
    rows = max(1, _ELEMENTS // max(1, logits.shape[1]))
    for start in range(0, len(logits), rows):
        yield slice(start, start + rows)
