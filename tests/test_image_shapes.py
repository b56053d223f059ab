"""A whole run on images that are wider than high, and every command that reads the run."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cait_finetune import load_run, predict
from tests.cait_finetune.stand_ins import checked
from tests.quick_runs import run

SIZE = (16, 24)
SHORT = ("dataset.examples_per_class=10", "train.epochs=1", "train.batch_size=20")


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Return a run on 16x24 pixels with every augmentation that reads the size of an image."""
    directory = tmp_path_factory.mktemp("wide") / "run"
    _, result = run(
        directory, *SHORT, f"model.image_size=[{SIZE[0]},{SIZE[1]}]", "augment.rand_operations=2",
        "augment.cutmix=1", "augment.erasing=0.5", "augment.crop_scale=[0.5,1]", "train.accumulation=2",
        "export=[saved_model,keras,onnx,litert]", figures=True,
    )  # fmt: skip
    return directory, result


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photographs")
    noise = np.random.default_rng(0).integers(0, 256, (2, 40, 90, 3), np.uint8)
    Image.fromarray(noise[0]).save(folder / "low.png")
    Image.fromarray(np.rot90(noise[1])).save(folder / "tall.png")
    return folder


@pytest.mark.slow
def test_the_run_reads_and_reports_that_shape(wide):
    directory, result = wide
    assert np.isfinite(result["test_loss"])
    finished = load_run(directory)
    assert finished.model.backbone.image_size == SIZE
    image = np.zeros((50, 40, 3), np.uint8)
    assert finished.preprocess(image).shape == (1, *SIZE, 3)
    assert (directory / "report.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("tta", ["none", "five_crop"])
def test_every_format_gives_the_probabilities_of_the_checkpoint(wide, photographs, tta, tmp_path):
    export = wide[0] / "export"
    bare = shutil.copytree(wide[0], tmp_path / "bare", ignore=shutil.ignore_patterns("export"))
    formats = ("saved_model", "onnx/model.onnx", "litert/model.tflite")
    wanted, *others = (
        [[share for _, share in sorted(one.classes)] for one in predict(path, photographs, 10, tta=tta)]
        for path in (bare, *(export / one for one in formats))
    )  # fmt: skip
    for got in others:
        np.testing.assert_allclose(got, wanted, atol=2e-3)


@pytest.mark.slow
def test_evaluation_and_pictures_have_that_shape(wide, tmp_path, capsys):
    from cait_finetune.commands.evaluate import evaluate
    from cait_finetune.commands.show_batch import show_batch

    weights = wide[0] / "checkpoints" / "best.safetensors"
    words = (*SHORT[:1], f"model.weights={weights}", f"model.image_size=[{SIZE[0]},{SIZE[1]}]")
    table = evaluate(checked(*words, "evaluation.crop_pcts=[1.0]"), tmp_path / "scores")
    assert "| 16x24, crop 1, bicubic" in table.read_text()
    assert "top-1" in capsys.readouterr().out
    assert show_batch(checked(*words), tmp_path / "batch").is_file()


@pytest.mark.slow
def test_a_square_run_starts_from_its_weights(wide, tmp_path):
    said, _ = run(
        tmp_path / "square", *SHORT, f"model.weights={wide[0] / 'checkpoints' / 'best.safetensors'}",
        "model.image_size=16", "export=none",
    )  # fmt: skip
    assert "pos_embed resampled from 4x6 to 4x4" in said


@pytest.mark.parametrize("mode", ["shorter_side", "squash", "pad"])
def test_the_pixels_of_exports_are_those_of_evaluation(mode):
    """`cait_tf` resizes in exported files, `data.preprocess` in training."""
    from cait_finetune.data.preprocess import Preprocessing
    from cait_tf.preprocessing import resize_and_normalise

    way = Preprocessing(SIZE, 0.875, "bicubic", (0.0,) * 3, (1.0,) * 3, mode)
    for shape in ((16, 24), (50, 40), (7, 90), (90, 7), (33, 33)):
        image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
        got = resize_and_normalise(
            image[None], SIZE, crop_pct=0.875, interpolation="bicubic", mean=way.mean, std=way.std,
            resize_mode=mode,
        )[0]  # fmt: skip
        assert got.shape == (*SIZE, 3)
        np.testing.assert_allclose(got, way(tf.constant(image)), atol=1.01 / 255)
