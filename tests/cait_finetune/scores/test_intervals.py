"""Confidence intervals against published values."""

from __future__ import annotations

import math

import pytest

from cait_finetune.scores.intervals import half_width, wilson


@pytest.mark.parametrize(
    ("accuracy", "examples", "interval"),
    [
        # Newcombe, "Two-sided confidence intervals for the single proportion" (1998), table I.
        (81 / 263, 263, (0.2553, 0.3662)),
        (15 / 148, 148, (0.0624, 0.1605)),
        (0 / 20, 20, (0.0, 0.1611)),
        (1 / 29, 29, (0.0061, 0.1718)),
    ],
)
def test_wilson_intervals_equal_published_values(accuracy, examples, interval):
    assert wilson(accuracy, examples) == pytest.approx(interval, abs=5e-5)


def test_students_interval_of_a_mean():
    # t(0.975, 4) = 2.776; the deviation of 1 to 5 is the root of 2.5.
    assert half_width([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(
        2.776 * math.sqrt(2.5 / 5), rel=1e-3
    )
    assert half_width([0.5, 0.5]) == 0
    assert math.isnan(half_width([0.5]))
