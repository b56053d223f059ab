"""Scores computed from predictions equal the model's own scores."""

import re

import numpy as np
import pytest

from cait_finetune.config import TaskConfig
from cait_finetune.data.corrupt import CorruptImages
from cait_finetune.data.pipeline import evaluation_stream, find_images
from cait_finetune.data.preprocess import Preprocessing
from cait_finetune.errors import UserError
from cait_finetune.scores.activation import SOFTMAX
from cait_finetune.scores.calibration import fit_temperature
from cait_finetune.scores.evaluation import Evaluator
from cait_finetune.scores.predictions import Predictions
from cait_finetune.scores.probabilities import Probabilities
from cait_finetune.tasks import task_of
from cait_finetune.workflow.scoring import measured, predict_splits, score
from tests.cait_finetune.stand_ins import encode, examples, picture, source_of, write_set
from tests.cait_finetune.tiny import tiny_model

CLASSIFICATION, MULTI_LABEL = (
    task_of(TaskConfig(name)) for name in ("classification", "multi_label")
)
PREPROCESSING = Preprocessing(32, 1.0, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture(scope="module")
def files():
    """Eleven image files; the fourth is broken."""
    good = examples(11)
    return [
        (data[:40] if number == 3 else data, label) for number, (data, label) in enumerate(good)
    ]


@pytest.fixture(scope="module")
def source(files, tmp_path_factory):
    return source_of(write_set(tmp_path_factory.mktemp("set"), {"train": files}))


@pytest.fixture(scope="module")
def scored(source):
    model = tiny_model(num_classes=2, depth=1, depth_token_only=1)
    corrupt = CorruptImages("skip")

    def stream(split):
        return evaluation_stream(source, split, PREPROCESSING, 4, corrupt)

    predictions = predict_splits(model, stream, source, corrupt)
    return predictions, score(CLASSIFICATION, predictions, 4), Evaluator(model)(stream("test"))


@pytest.mark.slow
def test_every_image_that_can_be_read_is_predicted_under_its_own_id(scored, source, files):
    predictions, *_ = scored
    for one in predictions.values():
        assert len(one.ids) == len(one.logits) == 10
        np.testing.assert_array_equal(one.labels, [n % 2 for n in range(11) if n != 3])
        assert find_images(source, "test", one.ids) == [
            data for n, (data, _) in enumerate(files) if n != 3
        ]
        assert one.class_names == ("cat", "dog")


@pytest.mark.slow
def test_the_figures_are_those_of_the_model_to_the_bit(scored):
    _, scores, of_the_model = scored
    assert scores.test == of_the_model
    assert scores.as_dict()["test"]["loss"] == of_the_model.loss


@pytest.mark.slow
def test_an_image_that_is_gone_is_named(scored, source):
    predictions, *_ = scored
    with pytest.raises(UserError, match=r"dataset\.splits\.test: got other images"):
        find_images(source, "test", [predictions["test"].ids[0], "not there"])


def synthetic(temperature, several, seed):
    rng = np.random.default_rng(seed)
    logits = temperature * rng.normal(size=(300, 3)).astype("float32")
    labels = (logits / temperature + rng.normal(size=logits.shape)).argmax(-1).astype("int32")
    if several:
        labels = (logits / temperature + rng.normal(size=logits.shape) > 0).astype("float32")
    return Predictions(logits, labels, [str(n) for n in range(300)], ["a", "b", "c"])


@pytest.mark.parametrize("several", [False, True])
def test_the_temperature_is_of_the_validation_images_alone(several):
    validation, test = synthetic(3.0, several, 0), synthetic(0.5, several, 1)
    task = MULTI_LABEL if several else CLASSIFICATION
    scores = score(task, {"validation": validation, "test": test}, 64)
    wanted = fit_temperature(task.postprocessing.activation, validation.logits, validation.labels)
    assert (
        scores.postprocessing.temperature
        == wanted
        > 1.2 * fit_temperature(task.postprocessing.activation, test.logits, test.labels)
    )
    metrics = scores.as_dict()
    assert metrics["validation"]["ece_calibrated"] < metrics["validation"]["ece"]
    assert metrics["validation"]["loss_calibrated"] < metrics["validation"]["loss"]
    assert metrics["test"]["images"] == 300


def test_a_temperature_that_is_in_an_export_already_stays():
    both = dict.fromkeys(("validation", "test"), synthetic(3.0, False, 0))
    assert (
        score(CLASSIFICATION, both, 64, Probabilities(SOFTMAX, 1.25)).postprocessing.temperature
        == 1.25
    )
    assert score(CLASSIFICATION, both, 64).postprocessing.temperature != 1.25


def test_pictures_that_are_looked_for_come_in_the_order_asked(source, files):
    ids = [
        one.decode() for one in source.records("test").map(lambda r: r["id"]).as_numpy_iterator()
    ]
    assert find_images(source, "test", [ids[7], ids[2]]) == [files[7][0], files[2][0]]
    assert encode(picture(16, 16, 7)) == files[7][0]


@pytest.mark.parametrize("several", [False, True])
def test_metrics_of_a_program(several):
    """They get the labels and the calibrated probabilities of each split."""
    found = score(
        MULTI_LABEL if several else CLASSIFICATION,
        {"validation": synthetic(3.0, several, 1), "test": synthetic(3.0, several, 2)},
        64,
    )
    seen = []

    def gap(labels, probabilities):
        seen.append((labels.shape, probabilities.shape, float(probabilities.max())))
        return np.float32(0.25) if len(seen) == 1 else 0.5

    added = measured(found, {"gap": gap})
    assert added.further == {"validation": {"gap": 0.25}, "test": {"gap": 0.5}}
    assert added.as_dict()["test"]["gap"] == 0.5
    assert all(one[2] <= 1 for one in seen)
    for wrong in ("0.5", None, np.nan):
        message = f"metrics: got {wrong!r} from gap, expected a finite number"
        with pytest.raises(UserError, match=re.escape(message)):
            measured(found, {"gap": lambda *_, value=wrong: value})
    with pytest.raises(
        UserError, match=r"metrics: got gap, which raised KeyError: 'x', with labels"
    ):
        measured(found, {"gap": lambda *_: {}["x"]})
