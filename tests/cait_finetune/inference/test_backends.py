"""A run's export and its checkpoint predict the same."""

import dataclasses
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from cait_finetune.config import TaskConfig
from cait_finetune.errors import UserError
from cait_finetune.inference.backends import Checkpoint, SavedModel
from cait_finetune.runs.provenance import EXTRA, Provenance, add_to_directory, read_provenance
from cait_finetune.tasks import task_of
from tests.cait_finetune.conftest import NAMES, TEMPERATURE


def contents(photos) -> list[bytes]:
    return [path.read_bytes() for path in sorted(photos.iterdir())]


@pytest.mark.slow
def test_checkpoint_and_export_agree_but_for_the_calibration(run, saved_run, photos):
    exported, checkpoint = SavedModel(run / "export" / "saved_model"), Checkpoint(saved_run)
    assert exported.class_names == checkpoint.class_names == NAMES
    uncalibrated = exported(contents(photos))
    assert np.ptp(uncalibrated, axis=1).min() > 1e-3  # else any calibration would agree
    calibrated = tf.nn.softmax(np.log(uncalibrated) / TEMPERATURE)
    np.testing.assert_allclose(checkpoint(contents(photos)), calibrated, atol=1e-5)


@pytest.mark.slow
def test_several_labels_have_probabilities_of_their_own(saved_run, photos):
    single = Checkpoint(saved_run)(contents(photos))
    other = dataclasses.replace(saved_run, task=task_of(TaskConfig("multi_label")))
    several = Checkpoint(other)(contents(photos))
    np.testing.assert_allclose(single.sum(1), 1, atol=1e-6)
    assert np.abs(several.sum(1) - 1).min() > 1e-3


def test_the_saliency_map_is_of_the_image_as_the_model_sees_it(saved_run, photos):
    images, maps = Checkpoint(saved_run).saliency(contents(photos))
    assert images.shape == (3, 16, 16, 3)
    assert maps.shape == (3, 16, 16)
    for values in (images, maps):
        assert values.min() >= 0
        assert 0.5 < values.max() <= 1


def test_another_saved_model(tmp_path):
    other = tf.Module()
    other.double = tf.function(lambda x: 2 * x, input_signature=[tf.TensorSpec((), tf.float32)])
    tf.saved_model.save(other, str(tmp_path), signatures={"double": other.double})
    with pytest.raises(UserError, match=r"model: got .*, whose signatures are double, expected"):
        SavedModel(tmp_path)


@pytest.mark.parametrize(
    "harm",
    [
        lambda model: os.truncate(model / "variables" / "variables.data-00000-of-00001", 50),
        lambda model: os.truncate(model / "variables" / "variables.index", 20),
        lambda model: shutil.rmtree(model / "variables"),
        lambda model: os.truncate(model / "saved_model.pb", 1000),
        lambda model: os.truncate(model / "saved_model.pb", 0),
    ],
    ids=["data", "index", "no-variables", "graph", "empty"],
)
def test_a_damaged_saved_model_is_one_message(tmp_path, harm):
    module = tf.Module()
    module.values = tf.Variable(tf.ones(1000))
    tf.saved_model.save(module, str(tmp_path / "model"))
    harm(tmp_path / "model")
    with pytest.raises(
        UserError, match=r"model: got .*model \(.+\), expected a complete SavedModel"
    ):
        SavedModel(tmp_path / "model")


@pytest.mark.slow
def test_a_saved_model_with_the_variables_of_another_is_refused(run, tmp_path):
    """It would answer with the other model's numbers under its own class names."""
    place = tmp_path / "model"
    shutil.copytree(run / "export" / "saved_model", place)
    add_to_directory(Provenance({}, tuple(NAMES)), place)
    assert SavedModel(place).class_names == list(NAMES)
    name = "variables/variables.data-00000-of-00001"
    stated = read_provenance(place)
    other = dataclasses.replace(stated, files=dict(stated.files) | {name: "of other weights"})
    (place / EXTRA).write_text(other.to_json())
    with pytest.raises(
        UserError, match=r"variables\.data-00000-of-00001, which is not the file that"
    ):
        SavedModel(place)


def test_a_checkpoint_that_names_no_classes(saved_run, tmp_path, monkeypatch):
    monkeypatch.setattr(saved_run.directory, "best_checkpoint", tmp_path / "none.safetensors")
    with pytest.raises(UserError, match=r"run: got .*none.safetensors.*, expected a checkpoint"):
        Checkpoint(saved_run)
