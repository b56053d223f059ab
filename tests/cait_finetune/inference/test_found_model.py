"""The values that ``model=`` accepts."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

from cait_finetune.errors import UserError
from cait_finetune.inference import found_model
from cait_finetune.inference.found_model import find_model
from cait_finetune.runs.provenance import Provenance, add_to_archive, add_to_directory
from cait_tf.weights.checksum import checksum
from tests.cait_finetune.inference.test_portable import write_onnx


def touch(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.fixture
def empty_run(tmp_path):
    for name in ("config.yaml", "checkpoints/best.safetensors"):
        touch(tmp_path / "run" / name)
    (tmp_path / "run" / "export").mkdir()
    return tmp_path / "run"


@pytest.mark.parametrize(
    ("exports", "chosen"),
    [
        (["saved_model/saved_model.pb", "onnx/model.onnx"], ("saved_model", "export/saved_model")),
        (["litert/model.tflite", "onnx/model.onnx"], ("onnx", "export/onnx/model.onnx")),
        (["litert/model.tflite"], ("litert", "export/litert/model.tflite")),
        ([], ("checkpoint", ".")),
    ],
)
def test_a_runs_export_or_its_checkpoint(empty_run, exports, chosen):
    for name in exports:
        touch(empty_run / "export" / name)
    found = find_model(empty_run)
    assert (found.kind, found.path) == (chosen[0], empty_run / chosen[1])
    assert found.run == empty_run


@pytest.mark.parametrize(
    ("exports", "kind"),
    [
        ('{"onnx": {"weights": "NOW"}}', "onnx"),
        ('{"onnx": {"weights": "before"}}', "checkpoint"),
        ('{"onnx": {"weights": "before"}, "litert": {"weights": "NOW"}}', "litert"),
        ("{}", "checkpoint"),
        ("half", "checkpoint"),
    ],
)
def test_an_export_of_other_weights_than_the_checkpoints_is_passed_by(empty_run, exports, kind):
    now = checksum({"a": np.zeros(1)})
    best = empty_run / "checkpoints" / "best.safetensors"
    save_file({"a": np.zeros(1)}, best, {"cait_tf.sha256": now})
    for name in ("onnx/model.onnx", "litert/model.tflite"):
        touch(empty_run / "export" / name)
    (empty_run / "export" / "exports.json").write_text(exports.replace("NOW", now))
    assert find_model(empty_run).kind == kind
    save_file({"a": np.ones(1)}, best, {"cait_tf.sha256": now})  # a program that kept the metadata
    if kind != "checkpoint":
        with pytest.raises(UserError, match=r"^run: got .*, whose tensors do not match its"):
            find_model(empty_run, "run")
    assert find_model(empty_run / "export" / "onnx").kind == "onnx"  # named by the user


@pytest.mark.parametrize(
    ("file", "named", "kind"),
    [
        ("saved.model/saved_model.pb", "saved.model", "saved_model"),
        ("some.onnx", "some.onnx", "onnx"),
        ("export/onnx/model.onnx", "export/onnx", "onnx"),
        ("some_int8.tflite", "some_int8.tflite", "litert"),
        ("export/litert/model.tflite", "export/litert", "litert"),
    ],
)
def test_an_export_outside_a_run_is_found_without_a_run(tmp_path, file, named, kind):
    touch(tmp_path / file)
    found = find_model(tmp_path / named)
    assert (found.kind, found.run) == (kind, None)
    with pytest.raises(UserError, match=r"maps: got a value with model=.*without its run"):
        found.read_run("maps")


def test_an_export_that_lies_in_its_run(empty_run):
    touch(empty_run / "export" / "onnx" / "model.onnx")
    assert find_model(empty_run / "export" / "onnx" / "model.onnx").run == empty_run


def test_a_model_of_one_size_is_given_images_as_its_run_was(bare_run, tmp_path, caplog):
    shutil.copytree(bare_run, tmp_path / "run")
    path = touch(tmp_path / "run" / "export" / "litert" / "model.tflite")
    config = tmp_path / "run" / "config.yaml"
    text = config.read_text()
    assert "crop_pct: null" in text
    config.write_text(text.replace("crop_pct: null", "crop_pct: 0.5", 1))
    within = find_model(path)._preprocessing(16, None)
    assert (within.image_size, within.crop_pct) == ((16, 16), 0.5)
    with caplog.at_level("WARNING", "cait_finetune"):
        alone = find_model(path.rename(tmp_path / "model.tflite"))._preprocessing(16, None)
    assert (alone.image_size, alone.crop_pct) == ((16, 16), 1.0)
    assert "does not state how its images were prepared" in caplog.text


def test_an_export_states_its_own_channels(empty_run, monkeypatch):
    """The run around an export may have images of other channels."""
    of_run = SimpleNamespace(model=SimpleNamespace(in_channels=1))
    monkeypatch.setattr(found_model, "read_run", lambda _, weights: of_run)
    stated = Provenance({"mean": [0.5] * 4}, ("a", "b"))
    saved_model = empty_run / "other" / "saved_model"
    touch(saved_model / "saved_model.pb")
    assert find_model(saved_model).channels() == 1  # without a statement of its own
    add_to_directory(stated, saved_model)
    litert = touch(empty_run / "other.tflite")
    add_to_archive(stated, litert)
    write_onnx(empty_run / "other.onnx", [None, 8, 8, 4], "FLOAT", stated=stated.to_json())
    for path in (saved_model, litert, empty_run / "other.onnx"):
        found = find_model(path)
        assert (found.run, found.channels()) == (empty_run, 4)
    touch(empty_run / "export" / "saved_model" / "saved_model.pb")
    add_to_directory(stated, empty_run / "export" / "saved_model")
    assert find_model(empty_run).channels() == 4  # without config.yaml, which may be edited


@pytest.mark.slow
def test_a_run_without_a_result_is_named(bare_run, tmp_path, caplog):
    shutil.copytree(bare_run, tmp_path / "run")
    with caplog.at_level("WARNING", "cait_finetune"):
        find_model(tmp_path / "run").open()
        assert caplog.messages == []
        (tmp_path / "run" / "result.json").unlink()
        (tmp_path / "run" / "metrics.jsonl").write_text(
            '{"kind": "epoch", "epoch": 1, "step": 9}\n'
        )
        find_model(tmp_path / "run").open()
    (said,) = caplog.messages
    assert said.endswith("run is not finished: the best weights of its first 1 epoch are used")


@pytest.mark.parametrize("name", ["nowhere", "folder", "nowhere.onnx"])
def test_a_path_without_a_model_raises_an_error(tmp_path, name):
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match=f"model: got .*{name}.*, expected the directory of a run"):
        find_model(tmp_path / name)
