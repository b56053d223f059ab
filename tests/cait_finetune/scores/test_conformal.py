"""Conformal intervals: their definition, and their coverage of new images."""

import numpy as np
import pytest

from cait_finetune.scores.conformal import coverage, fewest, half_widths


def test_the_half_width_is_the_kth_smallest_error():
    true = np.zeros((19, 1))
    errors = np.random.default_rng(0).permutation(np.arange(1.0, 20.0))[:, None]
    # k = ceil(20 * 0.9) = 18
    assert half_widths(errors, true, 0.1) == [18.0]
    assert half_widths(-errors, true, 0.5) == [10.0]
    assert half_widths(np.arange(1.0, 10.0)[:, None], np.zeros((9, 1)), 0.7) == [3.0]


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.5])
def test_with_too_few_images_the_interval_is_infinite(alpha):
    enough = fewest(alpha)
    for count, finite in ((enough, True), (enough - 1, False)):
        found = half_widths(np.ones((count, 1)), np.zeros((count, 1)), alpha)
        assert np.isfinite(found[0]) == finite


def test_missing_values_do_not_count():
    predicted = np.tile(np.arange(1.0, 21.0)[:, None], (1, 2))
    true = np.zeros((20, 2))
    true[10:, 1] = np.nan
    assert half_widths(predicted, true, 0.2).tolist() == [17.0, 9.0]
    assert coverage(predicted, true, np.array([10.0, 5.0])).tolist() == [0.5, 0.5]


def test_a_prediction_that_is_not_finite_makes_the_interval_infinite():
    predicted = np.zeros((9, 1))
    predicted[0] = np.nan
    assert half_widths(predicted, np.zeros((9, 1)), 0.1) == [np.inf]


def test_new_images_are_covered():
    """The coverage has the mean k / (n + 1) over many draws, here 0.9."""
    draws = np.random.default_rng(1)
    covered = []
    for _ in range(2000):
        errors = draws.standard_t(3, size=(49 + 20, 1))
        widths = half_widths(errors[:49], np.zeros((49, 1)), 0.1)
        covered.append(coverage(errors[49:], np.zeros((20, 1)), widths)[0])
    assert np.mean(covered) == pytest.approx(45 / 50, abs=0.005)
