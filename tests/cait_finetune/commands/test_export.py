"""`python -m cait_finetune export`: the exported files, their checks and the model card."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml
from omegaconf import OmegaConf
from PIL import Image

import cait_tf
from cait_finetune.commands import export as command
from cait_finetune.errors import UserError
from cait_finetune.export import formats
from cait_finetune.runs.exports import weights_mark
from cait_finetune.workflow import exporting
from tests.alone import run_alone
from tests.cait_finetune.stand_ins import composed, picture
from tests.uploads import naming

PLACE = "a_place_of_this_machine"
DIGITS = {"classes": "\n".join(map(str, range(10)))}
RESULT = {"test_top1": 0.5, "test_examples": 360, "steps": 10, "best_epoch": 1, "temperature": 1.5}


def save_weights(directory, seed):
    """Save the best weights. The kernel of the head depends on `seed`."""
    keras.utils.set_random_seed(0)
    model = cait_tf.create_model("cait_nano_32", num_classes=10, image_size=16)
    model.head.kernel.assign(np.random.default_rng(seed).normal(size=model.head.kernel.shape))
    cait_tf.save_weights(model, directory / "checkpoints" / "best.safetensors", DIGITS)


def make_run(directory):
    """Make the directory of a finished run on digits, whose model has random weights; return it."""
    directory.mkdir()
    words = (f"dataset.data_dir={directory.parent / 'data'}", "model.image_size=16")
    OmegaConf.save(composed(*words, "model.weights=none"), directory / "config.yaml")
    save_weights(directory, seed=0)
    (directory / "result.json").write_text(json.dumps(RESULT))
    return directory


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["export", *arguments])
    command.main()


@pytest.mark.slow
def test_scores_of_other_weights_are_not_stated_beside_these(tmp_path, monkeypatch):
    directory = make_run(tmp_path / "run")
    best = directory / "checkpoints" / "best.safetensors"
    result = RESULT | {"weights_sha256": weights_mark(best)}
    (directory / "result.json").write_text(json.dumps(result))
    save_weights(directory, seed=1)
    with pytest.raises(SystemExit) as stopped:
        call(monkeypatch, f"run={directory}", "export=timm", "export.check_images=5")
    assert f"run: got {best}, whose weights result.json does not describe" in stopped.value.code
    (directory / "result.json").unlink()
    call(monkeypatch, f"run={directory}", "export=timm", "export.check_images=5")
    assert "50.00%" not in (directory / "export" / "README.md").read_text()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    for library in ("tf2onnx", "onnxruntime", "ai_edge_litert"):
        pytest.importorskip(library)
    place = tmp_path_factory.mktemp(PLACE)
    directory = make_run(place / "run")
    (directory / "command.txt").write_text(
        f"python -m cait_finetune -cd {place}/conf dataset.data_dir={place}/data model.weights=none\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("HOME", str(place / "home"))
        call(patch, f"run={directory}", "export=timm", "export.check_images=5")
        call(
            patch,
            f"run={directory}",
            "export=[keras,onnx,litert,saved_model]",
            "export.check_images=8",
            "export.quantise=[float16]",
            "export.accuracy_images=9",
        )
    return directory


@pytest.mark.slow
def test_no_file_names_a_place_of_the_machine(run):
    assert naming(run, PLACE) == []
    assert "dataset.data_dir=…/data" in card(run)[1]
    assert naming(run, "temperature")  # `naming` reads the files


@pytest.mark.slow
def test_records_hold_the_relative_path_of_every_file(run):
    exports = json.loads((run / "export" / "exports.json").read_text())
    files = {name: one["path"] for name, one in exports.items()}
    assert files == {
        "saved_model": "export/saved_model",
        "onnx": "export/onnx/model.onnx",
        "litert": "export/litert/model.tflite",
        "keras": "export/keras/model.keras",
        "timm": "export/timm/model.safetensors",
    }
    others = [exports["saved_model"]["serving"], exports["litert"]["variants"]["float16"]["path"]]
    assert all((run / path).exists() for path in [*files.values(), *others])
    listed = {name for one in exports.values() for name in one.pop("files")}
    written = {path.relative_to(run / "export").as_posix() for path in (run / "export").rglob("*")
               if path.is_file()}  # fmt: skip
    assert listed == written - {"exports.json", "README.md"}
    result = json.loads((run / "result.json").read_text())
    assert (result["saved_model"], result["exports"]) == ("export/saved_model", exports)


def card(run) -> tuple[dict, str]:
    _, metadata, text = (run / "export" / "README.md").read_text().split("---\n", 2)
    return yaml.safe_load(metadata), text


@pytest.mark.slow
def test_the_record_is_of_all_formats_that_are_there(run):
    exports = json.loads((run / "export" / "exports.json").read_text())
    assert set(exports) == {"saved_model", "onnx", "litert", "keras", "timm"}
    assert {name: one["images"] for name, one in exports.items()} == {
        **dict.fromkeys(exports, 8),
        "timm": 5,
    }
    assert {one["temperature"] for one in exports.values()} == {1.5}
    assert exports["litert"]["variants"]["float16"]["images"] == 9
    result = json.loads((run / "result.json").read_text())
    assert result == RESULT | exporting.outcome(exports)
    assert result["export_max_difference"] == max(one["difference"] for one in exports.values())


@pytest.mark.slow
def test_the_cards_metadata_is_what_the_hub_reads(run):
    from huggingface_hub import ModelCard

    metadata, _ = card(run)
    assert metadata["datasets"] == ["digits"]
    assert "license" not in metadata  # weights from scratch have no upstream licence
    data = ModelCard((run / "export" / "README.md").read_text()).data
    (figure,) = data.eval_results
    assert (figure.metric_type, figure.metric_value) == ("accuracy", 0.5)
    assert (figure.dataset_name, figure.dataset_split) == ("digits", "test")


NAMES = [
    "saved_model",
    "onnx",
    "litert",
    "keras",
    pytest.param("timm", marks=pytest.mark.needs("timm")),
]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_cards_code_runs(run, name, monkeypatch, capsys):
    monkeypatch.chdir(run / "export")
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held sideways
    Image.fromarray(picture(40, 40)).save("image.jpg", exif=exif)
    (code,) = [
        block
        for block in re.findall(r"```python\n(.*?)```", card(run)[1], re.DOTALL)
        if f'"{name}' in block
    ]
    if name == "timm":
        printed = run_alone(code, cwd=run / "export")
    else:
        exec(compile(code, name, "exec"), {})
        printed = capsys.readouterr().out
    top, *rows = [
        (label, float(probability)) for label, probability in map(str.split, printed.splitlines())
    ]
    served = tf.saved_model.load("saved_model")
    answer = served.signatures["serving_default"](tf.constant([Path("image.jpg").read_bytes()]))
    wanted = answer["probabilities"].numpy()[0]
    assert [label for label, _ in rows] == list("0123456789")
    np.testing.assert_allclose([probability for _, probability in rows], wanted, atol=0.02)
    assert top == max(rows, key=lambda row: row[1])
    assert top[0] == str(wanted.argmax())


@pytest.mark.slow
def test_an_unfinished_run_is_exported_and_stays_unfinished(tmp_path, monkeypatch, capsys):
    directory = make_run(tmp_path / "run")
    (directory / "result.json").unlink()
    call(monkeypatch, f"run={directory}", "export=keras", "export.check_images=3")
    printed = capsys.readouterr().out
    assert "export checked on 3 validation images: same top-1, largest difference" in printed
    assert not (directory / "result.json").exists()
    assert "The run is not finished" in card(directory)[1]


@pytest.mark.slow
def test_it_prints_why_timm_was_not_asked(tmp_path, monkeypatch, capsys):
    directory = make_run(tmp_path / "run")
    (tmp_path / "timm.py").write_text("raise ImportError('an old torch')")
    monkeypatch.syspath_prepend(tmp_path)
    call(monkeypatch, f"run={directory}", "export=timm", "export.check_images=3")
    assert (
        "export timm: timm did not run (ImportError: an old torch): cait_tf checked the file instead\n"
    ) in capsys.readouterr().out
    record = json.loads((directory / "export" / "exports.json").read_text())["timm"]
    assert record["checked_by"] == "cait_tf"
    assert "notes" not in record


@pytest.mark.slow
def test_a_format_that_is_refused_stops_no_other(tmp_path, monkeypatch, capsys):
    directory = make_run(tmp_path / "run")
    exporter = formats.exporter

    def refusing(name, config):
        def refuse(*_):
            raise UserError("export: got another model")

        return refuse if name == "keras" else exporter(name, config)

    monkeypatch.setattr(exporting, "exporter", refusing)
    with pytest.raises(SystemExit) as caught:
        call(monkeypatch, f"run={directory}", "export=[keras,timm]", "export.check_images=3")
    assert caught.value.code == "cait_finetune export: export: got another model"
    assert "(timm)" in capsys.readouterr().out
    exports = json.loads((directory / "export" / "exports.json").read_text())
    assert list(exports) == ["timm"]


@pytest.mark.slow
def test_a_format_with_changed_files_is_refused(tmp_path, monkeypatch, capsys):
    directory = make_run(tmp_path / "run")
    call(monkeypatch, f"run={directory}", "export=timm", "export.check_images=3")
    weights = directory / "export" / "timm" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[::-1])
    with pytest.raises(SystemExit, match=r"export/timm with files that are missing or differ"):
        call(monkeypatch, f"run={directory}", "export=none")
    call(monkeypatch, f"run={directory}", "export=timm", "export.check_images=3")
    call(monkeypatch, f"run={directory}", "export=none")


@pytest.mark.slow
def test_exports_of_earlier_weights_are_removed(tmp_path, monkeypatch, capsys):
    directory = make_run(tmp_path / "run")
    call(monkeypatch, f"run={directory}", "export=[keras,timm]", "export.check_images=3")
    save_weights(directory, seed=1)
    capsys.readouterr()
    call(monkeypatch, f"run={directory}", "export=timm", "export.check_images=3")
    assert "export keras removed: made from other weights" in capsys.readouterr().out
    assert list(json.loads((directory / "export" / "exports.json").read_text())) == ["timm"]
    assert not (directory / "export" / "keras").exists()
    assert "`keras`" not in card(directory)[1]
    save_weights(directory, seed=2)
    call(monkeypatch, f"run={directory}", "export=none")
    assert [path.name for path in (directory / "export").iterdir()] == ["exports.json"]
    assert json.loads((directory / "result.json").read_text())["exports"] == {}


@pytest.mark.slow
def test_push_uploads_the_existing_exports(run, monkeypatch, capsys):
    pushed = []
    monkeypatch.setattr(formats, "check_token", lambda: None)
    monkeypatch.setattr(exporting, "push", lambda *to: pushed.append(to) or "https://hub/me/digits")
    before = (run / "export" / "exports.json").read_text()
    call(monkeypatch, f"run={run}", "export=none", "export.push_to_hub=me/digits")
    assert pushed == [("me/digits", run / "export", True)]
    assert "pushed to https://hub/me/digits" in capsys.readouterr().out
    assert (run / "export" / "exports.json").read_text() == before
    assert 'timm.create_model("hf-hub:me/digits"' in card(run)[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "run: got nothing, expected the directory of a run"),
        (
            ("run=nowhere",),
            "run: got nowhere, which does not exist, expected the directory of a run",
        ),
        (("run=x", "exprot=onnx"), "exprot: got an unknown key, expected one of run, export"),
        (("run=x", "export=onx"), "export: got onx, expected one of"),
        (("run=x", "export=[onnx,onx]"), "export: got onx, expected one of"),
        (("run=x", "export=3"), "export: got 3, expected one of"),
        (("run=x", "export.quantise=[int8]"), "export.quantise: got ['int8'], expected []"),
        (("run=x", "train.epochs=3"), "train.epochs: got an unknown key"),
    ],
)
def test_a_mistake_is_one_message(arguments, message, monkeypatch):
    with pytest.raises(SystemExit) as caught:
        call(monkeypatch, *arguments)
    assert str(caught.value.code).startswith(f"cait_finetune export: {message}")


def test_a_run_without_a_checkpoint(tmp_path, monkeypatch):
    directory = make_run(tmp_path / "run")
    (directory / "checkpoints" / "best.safetensors").unlink()
    with pytest.raises(SystemExit) as caught:
        call(monkeypatch, f"run={directory}")
    assert f"run: got {directory}, expected the directory of a run, with" in str(caught.value.code)
