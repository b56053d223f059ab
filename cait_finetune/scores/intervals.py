"""95 % confidence intervals: of one accuracy, of a mean over runs, of a difference between runs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

CONFIDENCE = 0.95


def wilson(accuracy: float, examples: int) -> tuple[float, float]:
    """Return Wilson's score interval of an accuracy on `examples` independent images.

    Source: Brown, Cai and DasGupta, "Interval Estimation for a Binomial Proportion" (2001).
    """
    from scipy.stats import binomtest

    correct = round(accuracy * examples)
    interval = binomtest(correct, examples).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def brackets(accuracy: float, examples: int) -> str:
    """Return Wilson's interval in percent, such as ``(98.4–100.0)``. Empty: there are no images."""
    if not examples:
        return ""
    low, high = wilson(accuracy, examples)
    return f"({100 * low:.1f}–{100 * high:.1f})"


def half_width(values: Sequence[float]) -> float:
    """Return half the width of Student's t interval of the mean. NaN for fewer than two values.

    The interval covers the draws of the seed. It does not cover the choice of the test images.
    """
    if len(values) < 2:
        return math.nan
    from scipy.stats import t

    error = statistics.stdev(values) / math.sqrt(len(values))
    return float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * error
