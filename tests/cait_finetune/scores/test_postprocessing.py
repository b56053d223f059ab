"""Both kinds of postprocessing: probabilities of classes, and numbers with intervals."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from cait_finetune.scores import calibration
from cait_finetune.scores.activation import SIGMOID, SOFTMAX
from cait_finetune.scores.numbers import Numbers
from cait_finetune.scores.predictions import Predictions
from cait_finetune.scores.probabilities import Probabilities

RANDOM = np.random.default_rng(5)
OUTPUTS = np.array([[2.0, -1.0, 0.5], [0.0, 3.0, 0.1]], "float32")
NAMES = ["a", "b", "c"]
WIDTHS = (0.25, 30.0, 4e-5)


def predictions(images: int, labels: np.ndarray | None = None) -> Predictions:
    outputs = RANDOM.normal(size=(images, 3)).astype("float32")
    labels = RANDOM.normal(size=(images, 3)).astype("float32") if labels is None else labels
    return Predictions(outputs, labels, list(map(str, range(images))), NAMES)


def arrays(answers: dict[str, tf.Tensor]) -> dict[str, np.ndarray]:
    return {name: one.numpy() for name, one in answers.items()}


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype("float64"))
    return powers / powers.sum(-1, keepdims=True)


@pytest.mark.parametrize(
    ("plain", "fitted"),
    [
        (Probabilities(SOFTMAX), Probabilities(SOFTMAX, 1.25)),
        (Probabilities(SIGMOID), Probabilities(SIGMOID, 0.3)),
        (Numbers(0.1), Numbers(0.1, WIDTHS)),
        (Numbers(0.1), Numbers(0.1)),
        (Numbers(0.1), Numbers(0.25, (0.0,))),  # the file's alpha counts
    ],
)
def test_what_facts_returns_is_what_stated_reads(plain, fitted):
    assert plain.stated(json.loads(json.dumps(fitted.facts()))) == fitted


def test_a_record_without_values_has_the_defaults():
    assert Probabilities(SIGMOID, 3.0).stated({}) == Probabilities(SIGMOID)
    assert Numbers(0.2, WIDTHS).stated({}) == Numbers(0.2)


@pytest.mark.parametrize("temperature", [0, -1.5, "1.5", None, [1.0]])
def test_an_impossible_temperature_is_refused(temperature):
    with pytest.raises(ValueError, match=r"^a number above 0$"):
        Probabilities(SOFTMAX).stated({"temperature": temperature})


@pytest.mark.parametrize("alpha", [0, 1, -0.1, "0.1", None, float("nan")])
def test_an_impossible_alpha_is_refused(alpha):
    with pytest.raises(ValueError, match=r"^alpha between 0 and 1$"):
        Numbers(0.1).stated({"alpha": alpha, "half_widths": [1.0]})


@pytest.mark.parametrize(
    "widths", [[-1.0], ["1"], 2.0, {"a": 1.0}, [None], [float("nan")], [float("inf")]]
)
def test_impossible_half_widths_are_refused(widths):
    with pytest.raises(
        ValueError, match=r"^half_widths, a finite number of at least 0 for each target$"
    ):
        Numbers(0.1).stated({"alpha": 0.1, "half_widths": widths})


@pytest.mark.parametrize("alpha", [0.1, 0.25])
def test_intervals_need_one_over_alpha_minus_one_images(alpha):
    few = round(1 / alpha) - 1
    assert Numbers(alpha).fitted(predictions(few - 1)) is None
    # So few images give the widest interval: the largest error.
    one = predictions(few)
    widest = np.abs(one.logits.astype("float64") - one.labels).max(axis=0)
    assert Numbers(alpha).fitted(one) == Numbers(alpha, tuple(widest.tolist()))


def test_the_half_width_is_an_error_in_the_unit_of_the_target():
    one = predictions(99)
    unit = np.array([1.0, 1e6, 1e-6], "float32")
    scaled = Predictions(one.logits * unit, one.labels * unit, one.ids, NAMES)
    errors = np.sort(np.abs(one.logits.astype("float64") - one.labels), axis=0)
    fitted = Numbers(0.1).fitted(scaled)
    np.testing.assert_allclose(fitted.half_widths, errors[89] * unit, rtol=1e-4)  # k = 0.9 * 100


def test_a_prediction_that_is_not_finite_gives_no_intervals():
    one = predictions(12)
    for value in (np.nan, np.inf):
        one.logits[3, 1] = value
        assert Numbers(0.1).fitted(one) is None


def test_a_temperature_needs_the_least_number_of_images():
    labels = RANDOM.integers(0, 3, calibration.LEAST)
    one = predictions(calibration.LEAST, labels)
    fewer = Predictions(one.logits[1:], labels[1:], one.ids[1:], NAMES)
    assert Probabilities(SOFTMAX).fitted(fewer) is None
    expected = calibration.fit_temperature(SOFTMAX, one.logits, labels)
    assert Probabilities(SOFTMAX, 9.0).fitted(one) == Probabilities(SOFTMAX, expected)


def test_two_fits_agree_but_for_rounding():
    ours = Probabilities(SOFTMAX, 2.0)
    assert ours.fits(Probabilities(SOFTMAX, 2.001))
    assert not ours.fits(Probabilities(SOFTMAX, 2.01))
    tiny = Numbers(0.1, WIDTHS)
    near, far = (np.array(WIDTHS) * [1, 1, 1 + by] for by in (5e-4, 5e-3))
    assert tiny.fits(Numbers(0.1, tuple(near)))
    assert not tiny.fits(Numbers(0.1, tuple(far)))  # a target with a small unit counts as much
    assert not tiny.fits(Numbers(0.1))
    assert not Numbers(0.1).fits(tiny)
    assert Numbers(0.1).fits(Numbers(0.1))
    assert not tiny.fits(Numbers(0.1, WIDTHS[:2]))
    assert not tiny.fits(Numbers(0.2, WIDTHS))


@pytest.mark.parametrize("activation", [SOFTMAX, SIGMOID])
def test_probabilities_are_those_of_divided_logits(activation):
    after = Probabilities(activation, 2.5)
    logits = OUTPUTS / 2.5
    wanted = softmax(logits) if activation is SOFTMAX else 1 / (1 + np.exp(-logits))
    np.testing.assert_allclose(after.values(OUTPUTS), wanted, rtol=1e-6)
    np.testing.assert_allclose(after.tensor(tf.constant(OUTPUTS)), wanted, rtol=1e-5)
    got = arrays(after.answers(tf.constant(OUTPUTS), tf.constant(NAMES)))
    assert got["predicted_class"].tolist() == [b"a", b"b"]
    np.testing.assert_allclose(got["probabilities"], wanted, rtol=1e-5)
    np.testing.assert_allclose(got["probability"], wanted.max(-1), rtol=1e-5)
    assert got["class_names"].tolist() == [b"a", b"b", b"c"]
    rows = arrays(after.row_answers(tf.constant(OUTPUTS), tf.constant(NAMES)))
    assert rows["class_names"].tolist() == [[b"a", b"b", b"c"]] * 2
    assert rows["predicted_index"].tolist() == [0, 1]
    assert {len(one) for one in rows.values()} == {2}


def test_numbers_are_the_outputs_and_their_intervals():
    after = Numbers(0.1, WIDTHS)
    np.testing.assert_array_equal(after.tensor(tf.constant(OUTPUTS)), OUTPUTS)
    assert after.values(OUTPUTS).dtype == np.float64
    got = arrays(after.answers(tf.constant(OUTPUTS), tf.constant(NAMES)))
    assert list(got) == ["prediction", "lower", "upper", "target_names"]
    np.testing.assert_array_equal(got["prediction"], OUTPUTS)
    np.testing.assert_allclose(got["lower"], OUTPUTS - np.array(WIDTHS), rtol=1e-6)
    np.testing.assert_allclose(got["upper"], OUTPUTS + np.array(WIDTHS), rtol=1e-6)
    assert got["target_names"].tolist() == [b"a", b"b", b"c"]
    rows = arrays(after.row_answers(tf.constant(OUTPUTS), tf.constant(NAMES)))
    assert rows["target_names"].tolist() == [[b"a", b"b", b"c"]] * 2
    assert {len(one) for one in rows.values()} == {2}
    ends = after.expected(OUTPUTS.astype("float64"))
    assert list(ends) == ["prediction", "lower", "upper"]
    for name, one in ends.items():
        np.testing.assert_allclose(got[name], one, rtol=1e-6)


def test_numbers_without_a_fit_have_no_intervals():
    got = Numbers(0.1).answers(tf.constant(OUTPUTS), tf.constant(NAMES))
    assert list(got) == ["prediction", "target_names"]
    assert list(Numbers(0.1).expected(OUTPUTS)) == ["prediction"]


def test_the_coverage_is_the_share_inside_over_all_targets():
    outputs = np.zeros((4, 2), "float32")
    labels = np.array([[0.5, 9.0], [-0.5, 11.0], [1.5, -11.0], [0.0, 12.0]], "float32")
    one = Predictions(outputs, labels, list("wxyz"), ["a", "b"])
    after = Numbers(0.1, (1.0, 10.0))
    measures = after.measures(one)
    assert measures == {"coverage": pytest.approx(4 / 8)}  # 3 of 4 and 1 of 4
    assert after.summary(measures) == "90 % interval ±1, ±10, with 50.0% inside"
    assert after.described() == "alpha 0.1, half_widths [1, 10]"
    assert "90 % of the numbers of similar images lie inside" in after.limits()
    nothing = Predictions(outputs[:0], labels[:0], [], ["a", "b"])
    assert after.measures(nothing) == {}


def test_texts_without_intervals_say_how_many_images_they_need():
    after = Numbers(0.1)
    assert after.measures(predictions(5)) == {}
    assert after.summary({}) == (
        "no intervals: they need 9 validation images and finite predictions"
    )
    assert "no intervals: the validation split was too small" in after.limits()


def test_the_measures_of_probabilities_are_before_and_after_the_temperature():
    labels = np.array([0, 1, 2, 0])
    one = predictions(4, labels)
    plain, fitted = Probabilities(SOFTMAX), Probabilities(SOFTMAX, 4.0)
    measures = fitted.measures(one)
    shares = softmax(one.logits / 4.0)
    loss = -np.log(shares[np.arange(4), labels]).mean()
    assert measures["loss_calibrated"] == pytest.approx(loss, rel=1e-5)
    assert measures["ece"] == plain.measures(one)["ece"] != measures["ece_calibrated"]
    assert fitted.summary({"ece": 0.125, "ece_calibrated": 0.03}) == (
        "ECE 12.50%; 3.00% with the temperature 4.00"
    )
    assert fitted.described() == "temperature 4"
    assert "calibrated by a temperature of 4.000" in fitted.limits()
    assert "not calibrated" in plain.limits()
