"""The object that a notebook shows is about its own run and that run's best weights."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import cait_tf
from cait_finetune import load_run
from cait_finetune.errors import UserError
from cait_tf.weights.stated import PREPARATION, stated_facts

NAMES = ["ant", "bee", "cat & dog"]


@pytest.fixture
def own(bare_run, tmp_path):
    return load_run(shutil.copytree(bare_run, tmp_path / "run"))


def train_on(run, names=NAMES):
    """Change the best weights, as a resumed run does."""
    model = run.saved.build_model(run.class_names)
    model.head.bias.assign(model.head.bias + np.array([0, 7, 0], "float32"))
    cait_tf.save_weights(model, run.saved.directory.best_checkpoint, {"classes": "\n".join(names)})


@pytest.mark.slow
def test_the_model_is_that_of_the_best_weights_now(own):
    images = np.zeros((1, 16, 16, 3), "float32")
    first, before = own.model, np.asarray(own.model(images))
    assert own.model is first
    train_on(own)
    assert own.model is not first
    assert own.model is own.model
    np.testing.assert_allclose(np.asarray(own.model(images)) - before, [[0, 7, 0]], atol=1e-5)


@pytest.mark.slow
def test_files_of_the_model_state_the_preparation_of_its_images(bare_run, tmp_path):
    directory = shutil.copytree(bare_run, tmp_path / "run")
    before = load_run(directory)
    facts = {"classes": "\n".join(NAMES), PREPARATION: json.dumps({"mean": [0.2, 0.3, 0.4]})}
    cait_tf.save_weights(before.model, before.saved.directory.best_checkpoint, facts)
    cait_tf.save_weights(load_run(directory).model, tmp_path / "own.safetensors")
    assert stated_facts(tmp_path / "own.safetensors")[PREPARATION] == facts[PREPARATION]


def test_weights_without_a_checksum_are_read_each_time(own, monkeypatch):
    monkeypatch.setattr("cait_finetune.runs.notebook.weights_mark", lambda path: None)
    assert own.model is not own.model


def test_names_and_model_are_not_another_runs(own):
    (own.directory / "identity.json").write_text(json.dumps({"run": "another"}))
    for use in (lambda: own.class_names, lambda: own.model):
        with pytest.raises(UserError, match="which does not hold the run that was loaded"):
            use()


def test_pil_images_are_prepared_as_files(own, tmp_path, monkeypatch):
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), "uint8")
    Image.fromarray(pixels).resize((56, 40)).save(tmp_path / "a.jpg", exif=exif)
    for upright in (True, False):
        monkeypatch.setattr(own.saved.dataset, "upright", upright)
        preprocessing = own.saved.build_preprocessing()
        wanted = preprocessing(preprocessing.decode((tmp_path / "a.jpg").read_bytes()))
        got = np.asarray(own.preprocess(Image.open(tmp_path / "a.jpg")))
        assert got.shape == (1, 16, 16, 3)
        assert np.abs(got[0] - wanted).max() < 2 / 255 / min(preprocessing.std)
