"""Edits of ``config.yaml`` after the start of a run are found."""

import json

import pytest
from omegaconf import OmegaConf

from cait_finetune.errors import UserError
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.settings import KEY, check_settings, settings
from tests.cait_finetune.stand_ins import checked


@pytest.fixture
def run(tmp_path):
    config = OmegaConf.structured(checked("dataset=digits", "dataset.data_dir=here"))
    run = RunDirectory(tmp_path)
    run.write_config(config)
    run.identity.write_text(json.dumps({KEY: settings(config)}))
    return run


def edit(run, key, value):
    config = OmegaConf.load(run.config)
    OmegaConf.update(config, key, value)
    run.write_config(config)


def test_edited_initial_weights_are_named(run):
    identity = {**json.loads(run.identity.read_text()), "weights": {"source": "/a/w.safetensors"}}
    run.identity.write_text(json.dumps(identity))
    with pytest.raises(UserError, match=r"model.weights: pretrained \(at the start: /a/w.safet"):
        check_settings(run, "report")
    edit(run, "model.weights", "/a/w.safetensors")
    check_settings(run, "report")


def test_an_unedited_config_passes(run):
    check_settings(run, "run")


@pytest.mark.parametrize(
    ("key", "value", "begun"),
    [
        ("preprocessing.mean", [0.9, 0.1, 0.9], "None"),
        ("dataset.upright", False, "True"),
        ("train.epochs", 11, "10"),
        ("model.image_size", 64, "None"),
    ],
)
def test_an_edited_value_is_named(run, key, value, begun):
    edit(run, key, value)
    with pytest.raises(UserError) as caught:
        check_settings(run, "resume")
    message = str(caught.value)
    assert message.startswith(f"resume: got {run.config}, edited since the run began: {key}: ")
    assert f"(at the start: {begun})" in message


@pytest.mark.parametrize(
    ("key", "value"),
    [("dataset.data_dir", "there"), ("train.max_hours", 2.0), ("export.onnx", True)],
)
def test_an_edit_of_a_free_key_passes(run, key, value):
    edit(run, key, value)
    check_settings(run, "resume")


@pytest.mark.parametrize("text", ["train: {epochs: 3\n", "- train\n", "", "\0"])
def test_a_file_that_is_no_configuration_is_one_message(run, text):
    run.config.write_text(text)
    with pytest.raises(UserError) as caught:
        check_settings(run, "run")
    message = str(caught.value)
    assert message.startswith(f"run: got {run.config}")
    assert len(message.splitlines()) <= 2


def test_a_run_without_a_record_passes(run):
    edit(run, "train.epochs", 11)
    run.identity.write_text("{}")
    check_settings(run, "run")


@pytest.mark.parametrize("key", ["preprocessing.mean", "preprocessing", "seed"])
def test_a_value_that_was_left_out_is_named(run, key):
    config = OmegaConf.load(run.config)
    *groups, name = key.split(".")
    node = OmegaConf.select(config, groups[0]) if groups else config
    del node[name]
    OmegaConf.save(config, run.config)
    with pytest.raises(UserError, match=rf"{key}[.a-z_]*: left out \(at the start:"):
        check_settings(run, "export")


def test_a_value_that_was_added_is_named(run):
    edit(run, "preprocessing.contrast", 2)
    with pytest.raises(UserError, match=r"preprocessing.contrast: 2 \(at the start: no such key\)"):
        check_settings(run, "resume")
