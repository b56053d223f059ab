"""The text of a prediction."""

from pathlib import Path

import pytest

from cait_finetune.inference.prediction import Number, Prediction


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (Number("angle", 12.3), "angle 12.3"),
        (Number("angle", 12.3, 4.75, 19.85), "angle 12.3 (4.75 to 19.85)"),
        (Number("size", 3.14159e-7, -2.71828e-7, 1e-6), "size 3.142e-07 (-2.718e-07 to 1e-06)"),
        (Number("price", 1234567.0, 0.0, 2e6), "price 1.235e+06 (0 to 2e+06)"),
    ],
)
def test_a_number_in_words(number, words):
    assert number.words == words


def test_a_prediction_joins_its_classes_or_its_numbers():
    path = Path("a.png")
    classes = Prediction(path, (("rose", 0.981), ("tulip", 0.012)))
    assert classes.words == "rose 98.1%, tulip 1.2%"
    numbers = Prediction(path, numbers=(Number("age", 31.0, 29.5, 32.5), Number("angle", -4.0)))
    assert numbers.parts == ["age 31 (29.5 to 32.5)", "angle -4"]
    assert numbers.words == "age 31 (29.5 to 32.5), angle -4"
    assert Prediction(path, error="not an image").words == "not an image"
