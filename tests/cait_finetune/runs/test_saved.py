"""Read a finished run's directory, and refuse files that are damaged or changed."""

import dataclasses
import json

import numpy as np
import pytest
from omegaconf import OmegaConf

import cait_tf
from cait_finetune.errors import UserError
from cait_finetune.runs.exports import weights_mark
from cait_finetune.runs.saved import RunDataConfig, read_run
from cait_finetune.scores.activation import SOFTMAX
from cait_finetune.scores.calibration import fit_temperature
from cait_finetune.scores.predictions import Predictions
from tests.cait_finetune.stand_ins import composed


@pytest.fixture
def directory(tmp_path):
    config = composed(f"dataset.data_dir={tmp_path / 'data'}", "preprocessing.crop_pct=0.9")
    OmegaConf.save(config, tmp_path / "config.yaml")
    model = cait_tf.create_model("cait_nano_32", num_classes=10)
    classes = {"classes": "\n".join(map(str, range(10)))}
    cait_tf.save_weights(model, tmp_path / "checkpoints" / "best.safetensors", classes)
    return tmp_path


@pytest.mark.slow
def test_model_images_and_preprocessing_are_the_runs_own(directory):
    run = read_run(directory)
    source = run.load_source(RunDataConfig(), "attention", print)
    assert source.sizes == {"train": 1257, "validation": 180, "test": 360}
    model = run.build_model(source.class_names)
    saved = cait_tf.create_model(
        "cait_nano_32", num_classes=10, weights=str(directory / "checkpoints" / "best.safetensors")
    )
    for one, other in zip(model.weights, saved.weights, strict=True):
        np.testing.assert_array_equal(one, other)
    assert run.build_preprocessing().crop_pct == 0.9


def test_keys_of_another_version_do_not_matter(directory):
    config = OmegaConf.load(directory / "config.yaml")
    del config["loss"]
    config["of_tomorrow"] = 1
    OmegaConf.save(config, directory / "config.yaml")
    assert read_run(directory).model.name == "cait_nano_32"


def test_best_weights_of_another_run(directory):
    (directory / "identity.json").write_text(json.dumps({"run": "id"}))
    with pytest.raises(UserError, match=r"run: got .*, which does not state its run, expected"):
        read_run(directory)
    best = directory / "checkpoints" / "best.safetensors"
    cait_tf.save_weights(cait_tf.create_model("cait_nano_32"), best, {"run": "other"})
    with pytest.raises(
        UserError, match=r"run: got .*best\.safetensors of another run than .*\n  Re"
    ):
        read_run(directory)


def test_a_directory_that_is_no_run(tmp_path):
    with pytest.raises(UserError, match=r"run: got .*, expected the directory of a run"):
        read_run(tmp_path)


@pytest.mark.parametrize(
    "damage", [b"dataset: {name: [}", b"", b"hello", b"- 1", b"seed: \xff", b"dataset: 3"]
)
def test_a_configuration_that_cannot_be_read(directory, damage):
    (directory / "config.yaml").write_bytes(damage)
    with pytest.raises(UserError, match="a configuration that can be read"):
        read_run(directory)


def test_the_temperature_of_a_result_that_cannot_be_read(directory):
    run = read_run(directory)
    assert run.postprocessing.temperature == 1
    (directory / "result.json").write_text("")
    with pytest.raises(UserError, match=r"result\.json: got .*, expected JSON"):
        assert run.postprocessing


def test_the_temperature_is_of_the_weights_that_were_scored(directory):
    run, best = read_run(directory), directory / "checkpoints" / "best.safetensors"
    result = {"temperature": 1.5, "weights_sha256": weights_mark(best)}
    (directory / "result.json").write_text(json.dumps(result))
    assert (run.is_scored, run.postprocessing.temperature) == (True, 1.5)
    cait_tf.save_weights(cait_tf.create_model("cait_nano_32", num_classes=10), best)
    assert (run.is_scored, run.postprocessing.temperature) == (False, 1.0)
    (directory / "result.json").write_text('{"temperature": 1.5}')  # an earlier version's
    assert (run.is_scored, run.postprocessing.temperature) == (True, 1.5)


def test_weights_for_other_classes(directory):
    with pytest.raises(UserError, match="checkpoints: "):
        read_run(directory).build_model([str(label) for label in range(7)])


def test_relative_images_are_as_seen_from_where_the_run_was_started(directory, monkeypatch):
    config = OmegaConf.load(directory / "config.yaml")
    config.dataset.data_dir = "data"
    OmegaConf.save(config, directory / "config.yaml")
    (directory / "environment.json").write_text(json.dumps([{"working_directory": "/was/here"}]))
    run = read_run(directory)
    assert run._data_dir(RunDataConfig()) == "/was/here/data"
    assert run._data_dir(RunDataConfig(data_dir="elsewhere")) == "elsewhere"


def test_a_temperature_that_was_edited_is_refused(directory, monkeypatch):
    """The temperature must fit the saved predictions, if they match the weights and images."""
    monkeypatch.setattr("cait_finetune.runs.identity.images_mark", lambda *_: "images")
    run, best = read_run(directory), directory / "checkpoints" / "best.safetensors"
    labels = np.arange(60, dtype="int32") % 10
    logits = np.random.default_rng(0).normal(size=(60, 10)).astype("float32")
    logits[np.arange(60), labels] += 1
    names = [str(number) for number in range(60)]
    kept = Predictions(logits, labels, names, names[:10], weights_mark(best), "images")
    kept.save(run.directory.predictions_of("validation"))
    fitted = fit_temperature(SOFTMAX, logits, labels)

    assert run.postprocessing.temperature == pytest.approx(
        fitted
    )  # the run ended before its result was there

    def stated(temperature):
        run.directory.write_result(
            {"temperature": temperature, "weights_sha256": weights_mark(best)}
        )
        return run.postprocessing.temperature

    assert stated(fitted * (1 + 1e-6)) == pytest.approx(fitted)
    for edited in (9.0, 0, None):
        with pytest.raises(
            UserError,
            match=rf"result\.json with temperature {edited}, expected temperature {fitted:.4g}",
        ):
            stated(edited)
    dataclasses.replace(kept, images="others").save(run.directory.predictions_of("validation"))
    assert stated(9.0) == 9
    with pytest.raises(UserError, match=r"with temperature -1, expected a number above 0"):
        stated(-1)
