"""95 % confidence intervals: of one accuracy, of a mean over runs, of a difference between runs."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

CONFIDENCE = 0.95
#: The lower and the upper end.
Interval = tuple[float, float]


def wilson(accuracy: float, examples: int) -> Interval:
    """Return Wilson's score interval of an accuracy on `examples` independent images.

    Source: Brown, Cai and DasGupta, "Interval Estimation for a Binomial Proportion" (2001).
    """
    from scipy.stats import binomtest

    correct = round(accuracy * examples)
    interval = binomtest(correct, examples).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def half_width(values: Sequence[float]) -> float:
    """Return half the width of Student's t interval of the mean. NaN for fewer than two values.

    The interval reflects the variation between the runs, not the choice of the test images.
    """
    if len(values) < 2:
        return math.nan
    from scipy.stats import t

    error = statistics.stdev(values) / math.sqrt(len(values))
    return float(t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * error
