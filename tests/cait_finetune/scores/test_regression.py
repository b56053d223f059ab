"""The metrics of predicted numbers against scikit-learn and SciPy."""

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

from cait_finetune.scores.regression import score_target, score_targets


@pytest.mark.parametrize("digits", [0, 6])  # 0: many equal values
def test_the_metrics_are_those_of_scikit_learn_and_scipy(digits):
    draws = np.random.default_rng(0)
    true = draws.normal(20, 5, 300).round(digits)
    predicted = (true + draws.normal(0, 3, 300)).round(digits)
    got = score_target(predicted.astype("float32"), true)
    predicted = predicted.astype("float32")
    assert got.mae == pytest.approx(mean_absolute_error(true, predicted), rel=1e-6)
    assert got.rmse == pytest.approx(root_mean_squared_error(true, predicted), rel=1e-6)
    assert got.r2 == pytest.approx(r2_score(true, predicted), rel=1e-6)
    assert got.spearman == pytest.approx(spearmanr(true, predicted)[0], rel=1e-9)
    assert got.examples == 300


def test_missing_values_do_not_count():
    true = np.array([[1.0, 2.0], [2.0, np.nan], [4.0, 3.0]])
    predicted = np.array([[1.0, 1.0], [3.0, 99.0], [4.0, 3.0]])
    got = score_targets(predicted, true, ["age", "height"])
    assert got["age"].mae == pytest.approx(1 / 3)
    assert (got["height"].mae, got["height"].examples) == (0.5, 2)
    nothing = score_target(predicted[:, 0], np.full(3, np.nan))
    assert (nothing.mae, nothing.examples) == (0.0, 0)


def test_constants_have_no_correlation_and_nan_is_shown():
    steps = np.arange(5.0)
    assert score_target(np.ones(5), steps).spearman == 0.0
    assert score_target(steps, np.ones(5)).r2 == 0.0
    lost = score_target(np.array([0.0, np.nan, 2.0, 3.0, 4.0]), steps)
    assert np.isnan([lost.mae, lost.rmse, lost.r2, lost.spearman]).all()
