"""The mean and the standard deviation of the training images."""

from __future__ import annotations

import io
import logging

import numpy as np
import pytest
import tensorflow as tf
from rich.console import Console

from cait_finetune.data.corrupt import CorruptImages
from cait_finetune.data.load import load_source
from cait_finetune.data.statistics import settle_statistics
from cait_finetune.errors import UserError
from tests.cait_finetune.stand_ins import checked


@pytest.fixture(scope="module")
def bands(tmp_path_factory):
    """Return a folder of images of two bands: of two sizes, and with large values."""
    root = tmp_path_factory.mktemp("bands")
    rng = np.random.default_rng(0)
    for name in ("ant", "bee"):
        (root / name).mkdir()
        for number in range(8):
            side = 4 + 4 * (number % 2)
            image = rng.normal([1e4, -3.0], [7.0, 0.5], (side, side, 2)).astype("float32")
            np.save(root / name / f"{number}.npy", image)
    return root


def settled(root, *words, channels=2):
    config = checked(
        "dataset=folder", f"dataset.data_dir={root}", "model.in_channels=2", "model.weights=none", *words
    )  # fmt: skip
    source = load_source(config.dataset, channels=channels)
    said = io.StringIO()
    settle_statistics(config, source, Console(file=said))
    return config, source, said.getvalue()


@pytest.mark.slow
def test_the_numbers_are_those_of_all_pixels(bands):
    config, source, said = settled(bands)
    pixels = np.concatenate([
        np.load(bands / one).reshape(-1, 2) for one in source.ids("train")
    ]).astype("float64")  # fmt: skip
    np.testing.assert_allclose(config.preprocessing.mean, pixels.mean(0), rtol=1e-5)
    np.testing.assert_allclose(config.preprocessing.std, pixels.std(0), rtol=1e-5)
    assert "mean of the training images" in said
    settle_statistics(config, None, None)  # nothing is left to compute


@pytest.mark.slow
def test_given_numbers_stay(bands):
    config, _, said = settled(bands, "preprocessing.std=[2,3]")
    assert config.preprocessing.std == [2.0, 3.0]
    assert "std of" not in said


@pytest.mark.slow
def test_a_constant_channel_is_refused(tmp_path):
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
        for number in range(8):
            image = np.full((4, 4, 2), number, "float32")
            image[..., 1] = 5
            np.save(tmp_path / name / f"{number}.npy", image)
    with pytest.raises(UserError, match="same value everywhere in channel 2 of 2"):
        settled(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("on_corrupt", ["stop", "skip"])
def test_refused_images_are_warned_about_by_training_alone(bands, caplog, on_corrupt):
    """With ``stop`` the first one ends the computation."""
    with pytest.raises(UserError) as caught, caplog.at_level(logging.WARNING, "cait_finetune"):
        settled(bands, "model.in_channels=4", f"dataset.on_corrupt={on_corrupt}", channels=4)
    assert "corrupt image" not in caplog.text
    assert ("no other in a split" in str(caught.value)) == (on_corrupt == "skip")
    assert "Set model.in_channels=2" in str(caught.value)


@pytest.mark.slow
def test_the_first_refused_image_stops(bands, monkeypatch):
    found = []
    monkeypatch.setattr(CorruptImages, "check", lambda self: found.append(self.ids))
    with pytest.raises(tf.errors.OpError):
        settled(bands, "model.in_channels=4", channels=4)
    assert list(map(len, found)) == [1]


@pytest.mark.slow
def test_a_large_mean_keeps_the_digits_of_the_spread(tmp_path):
    for name in ("ant", "bee"):
        (tmp_path / name).mkdir()
        for number in range(8):
            image = np.float32([[[3e6, 0], [3e6 + number + 0.25, 1]]])
            np.save(tmp_path / name / f"{number}.npy", image)
    config, source, _ = settled(tmp_path)
    pixels = [np.load(tmp_path / one)[..., 0].astype("float64") for one in source.ids("train")]
    np.testing.assert_allclose(config.preprocessing.mean[0], np.mean(pixels), atol=0.01)


@pytest.mark.slow
def test_rgb_levels_are_divided():
    config = checked("preprocessing.mean=auto", "preprocessing.std=auto")
    settle_statistics(config, load_source(config.dataset), Console(file=io.StringIO()))
    assert 0.25 < config.preprocessing.mean[0] < 0.35  # the digits are grey
    assert len(config.preprocessing.std) == 3
