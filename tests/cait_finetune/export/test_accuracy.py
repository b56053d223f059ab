"""The accuracy of a quantised variant, compared with the plain file on labelled images."""

from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.metrics import r2_score

from cait_finetune.export.accuracy import compare_accuracy
from cait_finetune.export.exported_model import ExportedModel, ValidationSamples
from cait_finetune.scores.activation import SIGMOID, SOFTMAX
from cait_finetune.scores.numbers import Numbers
from cait_finetune.scores.probabilities import Probabilities
from tests.cait_finetune.export.exported_models import preprocessing
from tests.cait_finetune.stand_ins import encode

GREYS = [0, 40, 80, 120, 160, 200]


def validation(labels, activation=SOFTMAX):
    files = [encode(np.full((4, 4 + grey % 3, 3), grey, "uint8")) for grey in GREYS]
    exported = ExportedModel(
        SimpleNamespace(), preprocessing(), "abc", "x", Probabilities(activation)
    )
    return ValidationSamples(exported, [], lambda: zip(files, labels, strict=True))


def by_grey(*cuts):
    """Return a classifier. Its class is the number of `cuts` below the image's grey level."""

    def classify(images):
        level = images[:, 0, 0, 0]
        return np.eye(3)[sum((level > cut).astype(int) for cut in cuts)] * 0.8

    return classify


def test_shares_are_of_all_images():
    compared = compare_accuracy(
        by_grey(60, 140), {"off": by_grey(60, 170), "same": by_grey(60, 140)},
        validation([0, 0, 1, 1, 2, 1]),
    )  # fmt: skip
    assert compared["off"] == {
        "images": 6,
        "metric": "top1",
        "accuracy": pytest.approx(4 / 6),
        "plain_accuracy": pytest.approx(5 / 6),
        "agreement": pytest.approx(5 / 6),
        "difference": pytest.approx(0.8),
    }
    assert compared["same"]["agreement"] == 1.0
    assert compared["same"]["difference"] == 0.0


def test_several_labels_are_measured_by_their_precision():
    truth = np.eye(3)[[0, 0, 1, 1, 2, 2]]
    compared = compare_accuracy(
        by_grey(60, 140), {"off": by_grey(60, 170)}, validation(list(truth), SIGMOID)
    )["off"]
    assert compared["metric"] == "mean_average_precision"
    assert compared["plain_accuracy"] == 1.0
    assert compared["accuracy"] < 1.0


def test_numbers_are_measured_by_r2_and_agree_within_a_tenth_of_a_deviation():
    unit = np.array([60e4, 60e-8])  # standard deviations of the targets
    scale = SimpleNamespace(std=unit)
    files = [encode(np.full((4, 4 + grey % 3, 3), grey, "uint8")) for grey in GREYS]
    truth = np.array(GREYS)[:, None] * unit / 60 + 0.3 * unit * [[1, -1]] * np.eye(6)[:, :1]
    exported = ExportedModel(
        SimpleNamespace(target_scale=scale), preprocessing(), ["a", "b"], "x", Numbers(0.1)
    )
    labels = list(truth.astype("float32"))
    compared = compare_accuracy(
        numbers_by_grey(unit), {"same": numbers_by_grey(unit), "off": numbers_by_grey(unit, 0.09),
        "far": numbers_by_grey(unit, 0.09, 0.5)},
        ValidationSamples(exported, [], lambda: zip(files, labels, strict=True)),
    )  # fmt: skip
    plain = np.array(GREYS)[:, None] * unit / 60
    assert compared["same"] == {
        "images": 6,
        "metric": "r2",
        "accuracy": pytest.approx(r2_score(truth, plain), abs=1e-6),
        "plain_accuracy": pytest.approx(r2_score(truth, plain), abs=1e-6),
        "agreement": 1.0,
        "difference": 0.0,
    }
    assert compared["off"]["agreement"] == 1.0
    assert compared["off"]["difference"] == pytest.approx(0.09)
    # One image differs in the target with the small unit.
    assert compared["far"]["agreement"] == pytest.approx(5 / 6)
    assert compared["far"]["difference"] == pytest.approx(0.5)
    far = plain + 0.09 * unit
    far[-1, 1] = plain[-1, 1] + 0.5 * unit[1]
    assert compared["far"]["accuracy"] == pytest.approx(r2_score(truth, far), abs=1e-6)


def numbers_by_grey(unit, off=0.0, last=None):
    """Return a regressor of the grey level, wrong by `off` deviations, or `last` for the last image."""

    def classify(images):
        level = images[:, 0, 0, 0].astype("float64")[:, None]
        wrong = np.full((len(images), 2), off)
        if last is not None:
            wrong[level[:, 0] == GREYS[-1], 1] = last
        return (level / 60 + wrong) * unit

    return classify
