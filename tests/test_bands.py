"""A whole run on images of four bands, and every command that reads the run."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

import cait_tf
from cait_finetune import finetune, load_run, predict
from cait_finetune.data import statistics
from cait_finetune.errors import UserError
from cait_finetune.runs.automatic import as_said
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.leaderboard import read_entry
from tests.quick_runs import run
from tests.small_model import WORDS, small_model  # noqa: F401  an automatic fixture

pytestmark = pytest.mark.slow

CHANNELS = 4
SHORT = (*WORDS, f"model.in_channels={CHANNELS}", "train.epochs=1", "train.batch_size=8", "augment.erasing=0.5",
         "augment.cutmix=1")  # fmt: skip


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Return a folder of images of four bands: NPY, and PNG with an alpha channel."""
    root = tmp_path_factory.mktemp("bands")
    rng = np.random.default_rng(0)
    for label, name in enumerate(("field", "water")):
        (root / name).mkdir()
        for number in range(20):
            bands = rng.random((18, 22, CHANNELS)).astype("float32") * (0.5 + label)
            if number % 5:
                np.save(root / name / f"{number:02}.npy", bands)
            else:
                levels = (255 * bands.clip(0, 1)).astype("uint8")
                Image.fromarray(levels).save(root / name / f"{number:02}.png")
    return root


@pytest.fixture(scope="module")
def finished(images, tmp_path_factory):
    directory = tmp_path_factory.mktemp("run") / "run"
    said, result = run(
        directory, "dataset=folder", f"dataset.data_dir={images}", *SHORT,
        "export=[saved_model,keras,onnx,litert,timm]", figures=True,
    )  # fmt: skip
    return directory, said, result


def test_the_run_keeps_its_statistics(finished, images):
    directory, said, result = finished
    assert np.isfinite(result["test_loss"])
    kept = OmegaConf.load(directory / "config.yaml").preprocessing
    assert len(kept.mean) == len(kept.std) == CHANNELS
    assert f"data   mean of the training images: {kept.mean[0]:g}," in said
    said_of = {"preprocessing.mean": None, "preprocessing.std": None}
    assert as_said(RunDirectory(directory)) == said_of
    assert said_of.items() <= read_entry(directory).settings.items()
    way = load_run(directory).saved.build_preprocessing()
    assert way.mean == tuple(kept.mean)
    assert (directory / "report.html").is_file()


def test_a_continued_run_keeps_the_numbers(finished, tmp_path):
    directory, *_ = finished
    said, _ = run(
        tmp_path / "longer", f"continue_from={directory}", "train.epochs=+1"
    )  # fmt: skip
    assert "of the training images" not in said
    now, before = (OmegaConf.load(one / "config.yaml") for one in (tmp_path / "longer", directory))
    assert now.preprocessing == before.preprocessing


def test_every_format_gives_the_probabilities_of_the_checkpoint(finished, images, tmp_path):
    directory, *_ = finished
    bare = shutil.copytree(directory, tmp_path / "bare", ignore=shutil.ignore_patterns("export"))
    formats = ("saved_model", "onnx/model.onnx", "litert/model.tflite")
    places = (bare, *(directory / "export" / one for one in formats))
    wanted, *others = (
        [[share for _, share in sorted(one.classes)] for one in predict(place, images / "field")]
        for place in places
    )
    assert len(wanted) == 20
    for got in others:
        np.testing.assert_allclose(got, wanted, atol=1e-4)
    import keras

    pixels = np.load(images / "field" / "01.npy")[None]
    answer = keras.saving.load_model(directory / "export" / "keras" / "model.keras").classify(
        pixels
    )
    np.testing.assert_allclose(sorted(answer["probabilities"][0]), sorted(wanted[1]), atol=1e-4)
    run_ = load_run(directory)
    assert run_.preprocess(pixels).shape == (1, 16, 16, CHANNELS)
    with pytest.raises(cait_tf.CaiTError, match="expected float32 of shape"):
        run_.preprocess(pixels[..., :3])


def test_the_card_shows_how_to_use_it(finished):
    card = (finished[0] / "export" / "README.md").read_text()
    assert "An image has 4 channels." in card
    assert "float32 (B, height, width, 4)" in card
    assert "RGB" not in card.partition("## Use")[2].partition("## Training")[0]


def test_a_photograph_gets_an_error(finished, tmp_path):
    Image.fromarray(np.zeros((20, 20, 3), "uint8")).save(tmp_path / "rgb.png")
    for place in (finished[0], finished[0] / "export" / "onnx" / "model.onnx"):
        (one,) = predict(place, tmp_path / "rgb.png")
        assert "3 channels, expected 4" in one.error
    with pytest.raises(UserError, match="tta: got flip with a model of 4 channels"):
        predict(finished[0], tmp_path / "rgb.png", tta="flip")


def test_arrays_of_bands_are_trained_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    labels = np.arange(20) % 2
    bands = np.random.default_rng(0).random((20, 18, 22, CHANNELS)) + labels[:, None, None, None]
    run_ = finetune(*SHORT, "export=none", train=(bands, labels), directory=tmp_path / "run")
    assert len(run_.saved.build_preprocessing().mean) == CHANNELS
    (one,) = predict(run_, next((tmp_path / "outputs" / "arrays").rglob("*.npy")))
    assert not one.error


def test_weights_of_other_channels_are_refused_before_all_images_are_read(
    finished, tmp_path, monkeypatch
):
    monkeypatch.setattr(statistics, "channel_statistics", None)
    best = finished[0] / "checkpoints" / "best.safetensors"
    with pytest.raises(
        UserError, match="patch embedding has 4 channels, expected weights of 1 channel,"
    ) as caught:
        run(
            tmp_path / "other", "dataset=digits", *SHORT, "model.in_channels=1", f"model.weights={best}"
        )  # fmt: skip
    assert "\n  Set model.in_channels=4" in str(caught.value)
