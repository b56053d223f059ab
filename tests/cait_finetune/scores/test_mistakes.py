"""The mistakes that a report shows, and their class names."""

import numpy as np
import pytest

from cait_finetune.scores.mistakes import mistakes_of_any_classes, mistakes_of_one_class
from cait_finetune.scores.predictions import Predictions

NAMES = ["cat", "dog", "fox"]


def test_the_surest_mistake_comes_first():
    logits = np.array([[5, 0, 0], [0, 1, 0], [0, 3, 0], [0, 0, 2]], "float32")
    labels = np.array([0, 0, 2, 1])
    one, other, last = mistakes_of_one_class(Predictions(logits, labels, list("abcd"), NAMES), 1.0)
    assert (one.id, one.truth, one.prediction) == ("c", "fox", "dog")
    assert (other.id, other.truth, other.prediction) == ("d", "dog", "fox")
    assert (last.id, last.truth, last.prediction) == ("b", "cat", "dog")
    assert one.probability == pytest.approx(np.exp(3) / (np.exp(3) + 2), abs=1e-6)


def test_probabilities_are_calibrated_ones():
    predictions = Predictions(np.array([[0, 3, 0]], "float32"), np.array([2]), ["c"], NAMES)
    (sharp,), (mild,) = (
        mistakes_of_one_class(predictions, temperature) for temperature in (0.5, 2.0)
    )
    assert sharp.probability == pytest.approx(np.exp(6) / (np.exp(6) + 2), abs=1e-6)
    assert mild.probability == pytest.approx(np.exp(1.5) / (np.exp(1.5) + 2), abs=1e-6)


def test_of_several_labels_the_surest_wrong_answer_of_each_image():
    logits = np.array([[4, -1, -1], [-3, -1, 2], [1, 2, -5]], "float32")
    labels = np.array([[1, 0, 0], [1, 0, 1], [1, 0, 0]], "float32")
    one, other = mistakes_of_any_classes(Predictions(logits, labels, list("abc"), NAMES), 1.0)
    assert (one.id, one.truth, one.prediction) == ("b", "cat", "no cat")
    assert one.probability == pytest.approx(1 / (1 + np.exp(-3)), abs=1e-6)
    assert (other.id, other.truth, other.prediction) == ("c", "no dog", "dog")
    assert other.probability == pytest.approx(1 / (1 + np.exp(-2)), abs=1e-6)


def test_a_model_that_is_right_has_none():
    predictions = Predictions(np.eye(3, dtype="float32"), np.arange(3), list("abc"), NAMES)
    assert mistakes_of_one_class(predictions, 1.0) == []
