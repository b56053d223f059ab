"""The turned digits: fixed angles, the splits of the digits, and the direction of the angle."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow_datasets as tfds

from cait_finetune.config import DatasetConfig
from cait_finetune.data.digits import divided_digits
from cait_finetune.data.load import load_source
from cait_finetune.data.targets import NUMBERS
from cait_finetune.data.turned_digits import TurnedDigits, turn
from tests.cait_finetune.data.test_digits import SIZES


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    tfds.disable_progress_bar()
    directory = tmp_path_factory.mktemp("turned")
    TurnedDigits(data_dir=directory).download_and_prepare()
    return directory


@pytest.mark.slow
def test_the_source_has_one_target(directory):
    config = DatasetConfig(name="turned_digits", data_dir=str(directory))
    source = load_source(config, NUMBERS)
    assert source.class_names == ("angle",)
    assert source.sizes == SIZES
    for split in SIZES:
        angles = source.labels(split)
        assert angles.shape == (SIZES[split], 1)
        assert np.abs(angles).max() <= 60
        assert abs(angles.mean()) < 6
        assert np.abs(angles).mean() == pytest.approx(30, abs=3)
    again = load_source(
        DatasetConfig(name="turned_digits", data_dir=str(directory), seed=7), NUMBERS
    )
    np.testing.assert_array_equal(again.labels("train"), source.labels("train"))


def test_the_angles_never_change(directory):
    examples = tfds.as_numpy(TurnedDigits(data_dir=directory).as_dataset(split="test"))
    angles = sorted(float(example["angle"]) for example in examples)
    np.testing.assert_allclose(angles[:3], [-59.9409, -59.3055, -58.7266], atol=1e-4)


def test_images_are_the_digits_of_the_same_split(directory):
    images, _, splits = divided_digits()
    builder = TurnedDigits(data_dir=directory)
    ink = {round(float(images[row].sum())) for row in splits["test"]}
    for example in tfds.as_numpy(builder.as_dataset(split="test").take(20)):
        assert example["image"].shape == (32, 32, 1)
        back = example["image"].sum() / 3.2**2
        assert min(abs(back - one) / one for one in ink) < 0.02


def test_a_positive_angle_turns_counterclockwise():
    right = np.zeros((8, 8), np.uint8)
    right[3:5, 5:8] = 255  # a bar to the right of the middle
    up = turn(right, 90.0)
    rows, columns = np.nonzero(up > 128)
    assert rows.max() < 16
    assert abs(columns.mean() - 15.5) < 0.6
    down = turn(right, -90.0)
    np.testing.assert_allclose(down[::-1], up, atol=1)


def test_no_angle_keeps_the_digit_inside():
    image = np.full((8, 8), 255, np.uint8)
    for degrees in (-60, -45, 0, 30, 60):
        turned = turn(image, degrees)
        assert max(turned[0, 0], turned[0, -1], turned[-1, 0], turned[-1, -1]) < 8
        assert turned.sum() / (255 * 8 * 8 * 3.2**2) == pytest.approx(1, abs=0.05)


def test_the_angle_can_be_learned():
    from sklearn.linear_model import Ridge

    images, _, splits = divided_digits()
    angles = np.random.default_rng(0).uniform(-60, 60, len(images))
    pixels = np.stack([turn(one[..., 0], angle) for one, angle in zip(images, angles, strict=True)])
    pixels = pixels.reshape(len(pixels), -1) / 255.0
    model = Ridge(alpha=30.0).fit(pixels[splits["train"]], angles[splits["train"]])
    error = np.abs(model.predict(pixels[splits["test"]]) - angles[splits["test"]]).mean()
    assert error < 15  # 30 degrees without learning
