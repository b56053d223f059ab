"""Calibration metrics against independent numpy and scikit-learn computations."""

import numpy as np
import pytest
from sklearn.metrics import log_loss

from cait_finetune.scores import activation as module
from cait_finetune.scores.activation import SIGMOID, SOFTMAX
from cait_finetune.scores.calibration import (
    LIMITS,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)


def drawn(count=4000, classes=6, temperature=1.0, seed=0):
    """Return logits times a temperature, and labels drawn from the softmax before scaling."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(count, classes))
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    labels = (p.cumsum(axis=-1) < rng.random((count, 1))).sum(axis=-1)
    return (temperature * logits).astype("float32"), labels.astype("int32")


def several(count=3000, classes=4, temperature=1.0, seed=0):
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(count, classes)) - 1
    labels = (rng.random(logits.shape) < 1 / (1 + np.exp(-logits))).astype("float32")
    return (temperature * logits).astype("float32"), labels


def by_hand(confidence, right, bins):
    """Compute the expected calibration error image by image."""
    members = [[] for _ in range(bins)]
    for sure, good in zip(confidence, right, strict=True):
        edges = [m for m in range(bins) if m / bins < sure <= (m + 1) / bins]
        members[edges[0]].append((sure, good))
    gaps = [
        len(one) * abs(np.mean([g for _, g in one]) - np.mean([s for s, _ in one]))
        for one in members
        if one
    ]
    return sum(gaps) / len(confidence)


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_the_error_is_the_mean_gap_of_the_bins(bins):
    rng = np.random.default_rng(1)
    confidence, right = rng.uniform(0.01, 1, 500), rng.random(500) < 0.5
    got = reliability(confidence, right, bins)
    assert got.error == pytest.approx(by_hand(confidence, right, bins))
    assert got.error > 0.1 or bins == 1
    assert got.count.sum() == 500
    assert len(got.count) == bins


def test_a_bin_has_its_upper_edge_and_not_its_lower():
    got = reliability(np.array([0.0, 0.2, 0.2001, 1.0]), np.array([0, 1, 0, 1]), bins=5)
    np.testing.assert_array_equal(got.count, [2, 1, 0, 0, 1])
    np.testing.assert_allclose(got.confidence, [0.1, 0.2001, np.nan, np.nan, 1.0])
    np.testing.assert_allclose(got.accuracy, [0.5, 0, np.nan, np.nan, 1])


def test_the_calibration_error_ranges_from_0_to_1():
    assert reliability(np.ones(8), np.zeros(8)).error == 1.0
    assert reliability(np.ones(8), np.ones(8)).error == 0.0
    assert reliability(np.array([]), np.array([])).error == 0.0


def test_nan_counts_as_confidence_zero():
    got = reliability(np.array([np.nan, 1.0]), np.array([False, True]))
    assert (got.count[0], got.error) == (1, 0.0)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_likelihood_is_scikit_learns(temperature):
    logits, labels = drawn(400)
    got = negative_log_likelihood(SOFTMAX, logits, labels, temperature)
    p = SOFTMAX.probabilities(logits, temperature)
    assert got == pytest.approx(log_loss(labels, p, labels=range(6)), rel=1e-9)
    logits, labels = several(400)
    p = SIGMOID.probabilities(logits, temperature)
    got = negative_log_likelihood(SIGMOID, logits, labels, temperature)
    assert got == pytest.approx(log_loss(labels.ravel(), p.ravel()), rel=1e-9)


def test_logits_of_any_size_have_probabilities():
    p = SOFTMAX.probabilities(np.array([[1e4, -1e4, 0.0]], "float32"))
    np.testing.assert_array_equal(p, [[1.0, 0.0, 0.0]])
    p = SIGMOID.probabilities(np.array([[1e4, -1e4, 0.0]], "float32"))
    np.testing.assert_array_equal(p, [[1.0, 0.0, 0.5]])


@pytest.mark.parametrize("draw", [drawn, several])
@pytest.mark.parametrize("true", [0.4, 1.0, 3.0])
def test_the_temperature_is_where_the_likelihood_is_best(draw, true):
    logits, labels = draw(temperature=true)
    activation = SIGMOID if draw is several else SOFTMAX
    got = fit_temperature(activation, logits, labels)
    assert got == pytest.approx(true, rel=0.06)  # the labels are a finite sample
    grid = np.exp(np.linspace(np.log(got) - 0.05, np.log(got) + 0.05, 41))
    losses = [negative_log_likelihood(activation, logits, labels, one) for one in grid]
    assert np.argmin(losses) == 20  # the middle of the grid: the fitted temperature


def test_a_temperature_mends_confidence_and_no_accuracy():
    logits, labels = drawn(temperature=3.0)
    temperature = fit_temperature(SOFTMAX, logits, labels)
    sure, right = SOFTMAX.answers(logits, labels)
    mended, still_right = SOFTMAX.answers(logits, labels, temperature)
    np.testing.assert_array_equal(right, still_right)
    assert reliability(sure, right).error > 0.15
    assert reliability(mended, right).error < 0.03


def test_of_several_labels_each_class_is_an_answer():
    logits, labels = several(30)
    sure, there = SIGMOID.answers(logits, labels)
    assert sure.shape == there.shape == (120,)
    np.testing.assert_allclose(sure, 1 / (1 + np.exp(-logits.astype("float64").ravel())))
    np.testing.assert_array_equal(there, labels.ravel() == 1)


def test_where_every_answer_is_right_there_is_nothing_to_fit():
    logits, labels = drawn(50)
    assert fit_temperature(SOFTMAX, logits, logits.argmax(-1)) == 1.0
    several_logits, _ = several(50)
    assert fit_temperature(SIGMOID, several_logits, (several_logits > 0).astype("float32")) == 1.0
    logits[3, 2] = np.nan
    assert fit_temperature(SOFTMAX, logits, labels) == 1.0


@pytest.mark.parametrize("activation", [SOFTMAX, SIGMOID])
def test_parts_of_any_size_give_the_same_numbers(activation, monkeypatch):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5000, 7)).astype("float32")
    labels = rng.integers(0, 2, (5000, 7)) if activation is SIGMOID else rng.integers(0, 7, 5000)

    def numbers():
        loss = negative_log_likelihood(activation, logits, labels, 1.7)
        temperature = fit_temperature(activation, logits, labels)
        return [loss, temperature, *activation.answers(logits, labels, 1.7)]

    whole = numbers()
    for elements in (70, 7_001, 30_000):
        monkeypatch.setattr(module, "_ELEMENTS", elements)
        for got, wanted in zip(numbers(), whole, strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_a_temperature_has_limits():
    rng = np.random.default_rng(0)
    logits = 30 * rng.normal(size=(500, 5))
    assert fit_temperature(SOFTMAX, logits, rng.integers(0, 5, 500)) == pytest.approx(LIMITS[1])
    logits, labels = drawn(500, temperature=0.01)
    assert fit_temperature(SOFTMAX, logits, labels) == pytest.approx(LIMITS[0])
