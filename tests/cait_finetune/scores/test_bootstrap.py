"""Confidence intervals against scikit-learn's metric and a known interval."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, r2_score

from cait_finetune.scores import bootstrap as module
from cait_finetune.scores.bootstrap import (
    average_precision_interval,
    bootstrap,
    label_mean,
    label_mean_intervals,
    mean_average_precision,
    r2_interval,
)
from cait_finetune.scores.evaluation import MultiLabelEvaluator
from cait_finetune.scores.predictions import Predictions
from cait_finetune.scores.regression import score_target
from cait_finetune.scores.several import SeveralEvaluator

RANDOM = np.random.default_rng(3)


def predictions(examples: int = 60, steps: float = 0.0) -> Predictions:
    """Return random logits that favour the labels. `steps`: round them, so that logits are equal."""
    shape = (examples, 4)
    labels = (RANDOM.random(shape) < 0.3).astype(np.float32)
    logits = RANDOM.normal(size=shape) + labels
    logits = np.round(logits / steps) * steps if steps else logits
    return Predictions(logits.astype(np.float32), labels, list(map(str, range(examples))), "abcd")


def evaluated(one: Predictions):
    return MultiLabelEvaluator(lambda logits, training: logits)(one.batches(16))


@pytest.mark.parametrize("steps", [0.0, 0.5])
def test_average_precision_of_drawn_images_is_scikit_learns(steps):
    one = predictions(steps=steps)
    metric = mean_average_precision(one.logits, one.labels)
    for _ in range(5):
        rows = RANDOM.integers(60, size=60)
        counts = np.bincount(rows, minlength=60)
        truth, present = one.labels[rows], one.labels[rows].any(axis=0)
        expected = average_precision_score(truth[:, present], one.logits[rows][:, present])
        assert metric(counts) == pytest.approx(expected, abs=1e-12)


def test_all_images_once_give_the_metric_of_the_evaluation():
    one = predictions()
    metric = mean_average_precision(one.logits, one.labels)(np.ones(60, int))
    assert metric == pytest.approx(evaluated(one).mean_average_precision)


def test_the_interval_of_average_precision_holds_it_and_repeats():
    one = predictions()
    low, high = average_precision_interval(one)
    assert (low, high) == average_precision_interval(one)
    assert low < evaluated(one).mean_average_precision < high


def test_the_bootstrap_of_a_mean_is_its_normal_interval():
    values = RANDOM.normal(size=400)
    low, high = bootstrap(lambda counts: float(counts @ values / 400), 400, 1000)
    half = 1.96 * values.std() / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)


def test_metrics_without_an_interval_are_omitted(monkeypatch):
    one = predictions()
    perfect = dataclasses.replace(one, logits=one.labels)
    assert average_precision_interval(perfect) is None  # all samples give 1
    broken = dataclasses.replace(one, logits=np.full((60, 4), np.nan, np.float32))
    assert average_precision_interval(broken) is None
    monkeypatch.setattr(module, "_MOST", 100)
    assert average_precision_interval(one) is None


def noisy_numbers(images: int) -> Predictions:
    """Return numbers of two targets in different units, with an R² near 0.8."""
    random = np.random.default_rng(images)
    true = random.normal(size=(images, 2))
    predicted = true + 0.45 * random.normal(size=true.shape)
    unit = [1e4, 1e-4]
    ids = list(map(str, range(images)))
    return Predictions(
        (predicted * unit).astype("float32"), (true * unit).astype("float32"), ids, "ab"
    )


def test_the_interval_of_r2_contains_the_value_and_narrows_with_more_images():
    widths = []
    for images in (20, 200, 2000):
        one = noisy_numbers(images)
        low, high = r2_interval(one)
        assert low < r2_score(one.labels, one.logits) < high < 1
        widths.append(high - low)
    assert widths[0] > 2 * widths[1] > 4 * widths[2]


def test_the_interval_of_r2_is_the_quantiles_of_resampled_scores():
    one = noisy_numbers(40)
    random, values = np.random.default_rng(0), []
    for _ in range(1000):
        rows = random.integers(40, size=40)
        values.append(r2_score(one.labels[rows].astype("float64"), one.logits[rows]))
    np.testing.assert_allclose(r2_interval(one), np.quantile(values, [0.025, 0.975]), rtol=1e-6)


def test_no_interval_of_r2_without_images_or_of_a_perfect_model():
    one = noisy_numbers(20)
    empty = dataclasses.replace(one, logits=one.logits[:0], labels=one.labels[:0], ids=[])
    assert r2_interval(empty) is None
    assert r2_interval(dataclasses.replace(one, logits=one.labels)) is None
    broken = one.logits.copy()
    broken[3, 0] = np.nan
    assert r2_interval(dataclasses.replace(one, logits=broken)) is None


def test_a_constant_target_has_an_r2_of_0_in_every_sample():
    """As `score_target`. A mean that rounds must not make an R² of minus billions."""
    rng = np.random.default_rng(0)
    varied = rng.normal(size=40)
    true = np.stack([varied, np.full(40, 0.1)], axis=1)
    predicted = true + 0.3 * rng.normal(size=true.shape)
    names, ids = ["a", "b"], [str(number) for number in range(40)]
    low, high = r2_interval(Predictions(predicted, true, ids, names))
    value = np.mean([score_target(*pair).r2 for pair in zip(predicted.T, true.T, strict=True)])
    assert low < value < high < 0.5
    assert r2_interval(Predictions(predicted[:9], true[:9], ids[:9], names)) is None


def of_labels(examples: int = 40) -> Predictions:
    """Return random logits, some of them equal, of two labels, of which a third lacks the second."""
    number = RANDOM.integers(2, size=(examples, 2))
    labels = np.eye(2)[number].reshape(examples, 4)
    labels[::3, 2:] = 0
    logits = np.round(RANDOM.normal(size=labels.shape) + labels)
    names = ["a=x", "a=y", "b=x", "b=y"]
    return Predictions(
        logits.astype(np.float32), labels.astype(np.float32), list(map(str, range(examples))), names
    )


@pytest.mark.parametrize(("metric", "per_class"), [("top1", False), ("mean_per_class", True)])
def test_means_over_labels_of_drawn_images_are_those_of_the_evaluation(metric, per_class):
    one = of_labels()
    resampled = label_mean(one, per_class)
    for rows in (np.arange(40), RANDOM.integers(40, size=40), np.zeros(40, int)):
        drawn = dataclasses.replace(one, logits=one.logits[rows], labels=one.labels[rows])
        evaluation = SeveralEvaluator(lambda logits, training: logits, one.class_names)(
            drawn.batches(16)
        )
        counts = np.bincount(rows, minlength=40)
        assert resampled(counts) == pytest.approx(evaluation.as_metrics()[metric])


def test_means_over_labels_without_an_interval(monkeypatch):
    one = of_labels()
    perfect = dataclasses.replace(one, logits=one.labels)
    assert label_mean_intervals(one).keys() == {"top1", "mean_per_class"}
    assert label_mean_intervals(perfect) == {}
    monkeypatch.setattr(module, "_MOST", 100)
    assert label_mean_intervals(one) == {}
