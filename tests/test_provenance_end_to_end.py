"""Weights and exports outside their run directory still state how they were made."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

from cait_finetune import load_run, predict
from cait_finetune.commands.evaluate import evaluate
from cait_finetune.errors import UserError
from cait_finetune.inference import found_model
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.workflow import training
from cait_finetune.workflow.finetune import finetune
from cait_finetune.workflow.setup import prepare
from cait_tf import create_model, save_weights
from tests.cait_finetune.stand_ins import checked
from tests.small_model import WORDS, small_model  # noqa: F401  the fixture is for all tests

pytestmark = pytest.mark.slow

SHORT = ["model.image_size=16", "train.epochs=null", "train.steps=30", "train.batch_size=8",
         "distribution=cpu", "export.check_images=4", "augment=none", "optimizer.base_lr=3e-3",
         *WORDS]  # fmt: skip
PLACES = ("saved_model", "onnx/model.onnx", "litert/model.tflite")


def draw(root, names, seed):
    """Write images with one bright corner, which determines the class."""
    rng = np.random.default_rng(seed)
    for corner, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for number in range(15):
            pixels = rng.integers(0, 60, (24, 24, 3), dtype="uint8")
            pixels[12 * (corner // 2) :, 12 * (corner % 2) :][:12, :12] += 180
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    return [draw(root / "a", ("ant", "bee", "cow"), 0), draw(root / "b", ("fox", "gnu", "hen"), 1)]


def configured(images, *words):
    return checked("dataset=folder", f"dataset.data_dir={images}", *SHORT, *words)


def train(root, images, *words):
    finetune(configured(images, *words), root)
    return root


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    """Two runs on different data sets. The second run ignores EXIF orientation."""
    pytest.importorskip("onnxruntime")
    pytest.importorskip("ai_edge_litert")
    root = tmp_path_factory.mktemp("runs")
    formats = "export=[saved_model,onnx,litert]"
    one = train(root / "one", data[0])
    return one, train(root / "other", data[1], "dataset.upright=false", formats)


@pytest.fixture(scope="module")
def turned(tmp_path_factory, data):
    """A photograph whose EXIF orientation requires a rotation."""
    path = tmp_path_factory.mktemp("photo") / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(data[1] / "gnu" / "3.png").save(path, exif=exif, quality=95)
    return path


def probabilities(model, image):
    (one,) = predict(model, image)
    return {name: pytest.approx(value, abs=2e-3) for name, value in one.classes}


@pytest.mark.parametrize("place", PLACES)
def test_a_moved_export_prepares_images_as_its_run(runs, turned, tmp_path, place):
    one, other = runs
    wanted = probabilities(other, turned)
    folder = place.split("/")[0]
    shutil.copytree(other / "export" / folder, tmp_path / folder)
    assert probabilities(tmp_path / place, turned) == wanted
    inside = shutil.copytree(one, tmp_path / "run") / "export"
    shutil.copytree(other / "export" / folder, inside / f"{folder}_2")
    assert probabilities(inside / place.replace(folder, f"{folder}_2", 1), turned) == wanted


def test_a_run_does_not_answer_with_another_runs_export(runs, turned, tmp_path):
    one, other = runs
    copy = shutil.copytree(one, tmp_path / "run")
    shutil.rmtree(copy / "export" / "saved_model")
    shutil.copytree(other / "export" / "saved_model", copy / "export" / "saved_model")
    with pytest.raises(UserError, match=r"model: got .*saved_model of another run than .*identity"):
        predict(copy, turned)


def test_a_run_that_is_held_does_not_answer_with_other_weights(runs, tmp_path):
    one, other = runs
    copy = shutil.copytree(one, tmp_path / "run")
    held = load_run(copy)
    held.model  # noqa: B018  built of its own weights
    shutil.copy(other / "checkpoints/best.safetensors", copy / "checkpoints/best.safetensors")
    for use in (lambda: held.model, lambda: held.class_names):
        with pytest.raises(UserError, match=r"run: got .*best\.safetensors of another run than"):
            use()
    shutil.copy(one / "checkpoints/best.safetensors", copy / "checkpoints/best.safetensors")
    assert held.model is held.model


def test_a_run_without_weights_does_not_answer_with_another_runs_export(runs, turned, tmp_path):
    one, other = runs
    copy = shutil.copytree(one, tmp_path / "run")
    shutil.rmtree(copy / "checkpoints")
    assert probabilities(copy, turned) == probabilities(one / "export" / "saved_model", turned)
    shutil.rmtree(copy / "export")
    shutil.copytree(other / "export", copy / "export")
    with pytest.raises(UserError, match=r"model: got .*saved_model of another run than .*identity"):
        predict(copy, turned)


def test_a_run_does_not_answer_with_an_export_whose_files_were_replaced(runs, turned, tmp_path):
    one, other = runs
    copy = shutil.copytree(one, tmp_path / "run")
    for file in (other / "export" / "saved_model" / "variables").iterdir():
        shutil.copy(file, copy / "export" / "saved_model" / "variables")
    with pytest.raises(
        UserError, match=r"model: got .*variables.*, which is not the file that was exported"
    ):
        predict(copy, turned)


def test_a_litert_file_knows_its_classes(runs, turned, tmp_path):
    litert = shutil.copytree(runs[1] / "export" / "litert", tmp_path / "litert")
    (litert / "labels.txt").write_text("ant\nbee\ncow\n")
    with pytest.raises(UserError, match=r"other class names inside than in labels\.txt"):
        predict(litert / "model.tflite", turned)
    (litert / "labels.txt").unlink()
    assert set(probabilities(litert / "model.tflite", turned)) == {"fox", "gnu", "hen"}


def test_maps_are_of_the_weights_that_answer(runs, turned, tmp_path):
    from cait_finetune.inference.running import PredictConfig
    from cait_finetune.inference.running import predict as run_predict

    copy = shutil.copytree(runs[1], tmp_path / "run")
    best = RunDirectory(copy).best_checkpoint
    model = create_model(WORDS[0].partition("=")[2], num_classes=3, weights=best)
    model.head.bias.assign(model.head.bias + 1)
    with safe_open(best, "np") as file:
        stated = {name: file.metadata()[name] for name in ("classes", "run")}
    save_weights(model, best, stated)
    with pytest.raises(
        UserError, match=r"run: got .*, whose weights result\.json does not describe"
    ):
        run_predict(PredictConfig(str(copy), [str(turned)]))
    (copy / "result.json").unlink()  # a run that trains on has newer weights than its export
    config = PredictConfig(
        str(copy / "export" / "saved_model"), [str(turned)], maps=str(tmp_path / "maps")
    )
    with pytest.raises(UserError, match=r"maps: got a value with .*made from other weights than"):
        run_predict(config)


def test_a_run_object_stays_with_its_run(runs, turned, tmp_path, monkeypatch):
    one, other = runs
    (tmp_path / "here").mkdir()
    shutil.copytree(one, tmp_path / "R")
    shutil.copytree(other, tmp_path / "here" / "R")
    monkeypatch.chdir(tmp_path)
    run = load_run("R")
    monkeypatch.chdir(tmp_path / "here")
    assert {name for name, _ in run.predict(turned)[0].classes} == {"ant", "bee", "cow"}


def test_scores_on_images_that_the_weights_were_trained_on(runs, data, tmp_path, capsys):
    weights = runs[0] / "checkpoints" / "best.safetensors"
    words = ["dataset=folder", f"dataset.data_dir={data[0]}", WORDS[0], f"model.weights={weights}",
             "model.image_size=16", "evaluation.crop_pcts=[1.0]", "evaluation.split=validation"]  # fmt: skip
    evaluate(checked(*words), tmp_path / "same")
    assert "of the weights" not in capsys.readouterr().out
    own = data[0] / "cait_splits.csv"
    moved = shutil.copytree(data[0], tmp_path / "grown")
    (moved / own.name).unlink(missing_ok=True)
    draw(moved / "more", ("ant",), 5)
    for path in (moved / "more" / "ant").iterdir():
        path.rename(moved / "ant" / f"more_{path.name}")
    shutil.rmtree(moved / "more")
    words[1] = f"dataset.data_dir={moved}"
    evaluate(checked(*words, "preprocessing.mean=[0.5,0.5,0.5]"), tmp_path / "grown_scores")
    out = capsys.readouterr().out
    assert " validation images are among the training images of the weights" in out
    assert (
        "model  the weights were trained with preprocessing.mean=[0.485,0.456,0.406], here "
        "[0.5,0.5,0.5]" in out
    )


def test_weights_keep_the_record_of_earlier_training_images(runs, data, tmp_path, capsys):
    """Weights keep the record of earlier training images after their start file is deleted."""
    start = shutil.copy(
        runs[0] / "checkpoints" / "best.safetensors", tmp_path / "start.safetensors"
    )
    words = [f"model.weights={start}", "dataset.check=false", "export=none", "train.steps=2"]
    config, second = configured(data[1], *words), tmp_path / "second"
    training.train(config, prepare(config, second))
    assert "is not compared with the training images of the weights" in capsys.readouterr().out
    start.unlink()
    weights = second / "checkpoints" / "last.safetensors"
    score = ["dataset=folder", f"dataset.data_dir={data[0]}", WORDS[0], f"model.weights={weights}",
             "model.image_size=16", "evaluation.crop_pcts=[1.0]"]  # fmt: skip
    # The second run learned other classes, so the test checks only the messages.
    from cait_finetune.data.load import load_source
    from cait_finetune.runs.provenance import notes_on_weights
    from cait_finetune.workflow.streams import preprocessing_of

    config = checked(*score)
    notes = notes_on_weights(
        str(weights), preprocessing_of(config), load_source(config.dataset), ["train"]
    )
    found = re.fullmatch(r"data   at least (\d+) of (\d+) train images are among .*", notes[0])
    assert found[1] == found[2] != "0"
    assert notes[1:] == [
        "data   the contents of some of the training images of the weights are not known"
    ]


def test_an_earlier_export_of_the_run_does_not_answer(runs, turned, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        found_model.logger, "warning", lambda text, *values: said.append(text % values)
    )
    copy = shutil.copytree(runs[0], tmp_path / "run")
    run = RunDirectory(copy)
    stated = json.loads((run.saved_model / "assets.extra" / "cait_finetune.json").read_text())
    stated["weights"] = "of an earlier epoch"
    (run.saved_model / "assets.extra" / "cait_finetune.json").write_text(json.dumps(stated))
    predict(copy, turned)
    assert "was made from other weights than" in said[0]
