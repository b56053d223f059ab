"""The accuracy of a quantised variant, compared with the plain file on labelled images."""

from types import SimpleNamespace

import numpy as np
import pytest

from cait_finetune.export.accuracy import compare_accuracy
from cait_finetune.export.exported_model import ExportedModel, ValidationSamples
from cait_finetune.scores.activation import SIGMOID, SOFTMAX
from cait_finetune.scores.postprocessing import Probabilities
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
