"""A straight line through what batches of several sizes took: what one of any size would take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Line:
    """Bytes that any batch takes, and bytes of each image."""

    fixed: float
    per_image: float

    def at(self, batch_size: int) -> float:
        """Bytes of a batch."""
        return self.fixed + self.per_image * batch_size

    def largest(self, available: float) -> int:
        """The most images that fit into so many bytes; 0 if not even one does."""
        if self.per_image <= 0:
            raise ValueError(f"per_image: got {self.per_image}, expected a number above 0")
        return max(0, math.floor((available - self.fixed) / self.per_image))


def fit(peaks: Mapping[int, float]) -> Line:
    """The line nearest to the peaks of two or more batch sizes, in the sense of least squares.

    Raises:
        ValueError: there are fewer.
    """
    if len(peaks) < 2:
        raise ValueError(f"peaks: got {len(peaks)} batch sizes, expected two or more")
    sizes, values = np.array(list(peaks), float), np.array(list(peaks.values()), float)
    slope, fixed = np.polyfit(sizes, values, 1)
    return Line(float(fixed), float(slope))


def forecast(peaks: Mapping[int, float], start: float, batch_size: int) -> float:
    """Bytes that a batch is expected to take, from the batches measured so far.

    Args:
        start: bytes that a batch of no images would take, for as long as one or no size is measured.
    """
    if not peaks:
        return start
    known = peaks if len(peaks) > 1 else {0: start, **peaks}
    return fit(known).at(batch_size)
