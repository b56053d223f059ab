"""Colours change as PIL changes them."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from cait_finetune.data.augmentation import colour
from cait_finetune.data.augmentation.blur import LARGEST, blur
from tests.cait_finetune.stand_ins import picture


def noisy(height: int, width: int) -> np.ndarray:
    """Return a picture that does not reach 0 or 255, with different noise in each channel."""
    noise = np.random.default_rng(1).integers(-9, 10, (height, width, 3))
    return np.clip(30 + 0.7 * picture(height, width) + noise, 0, 255).astype("uint8")


PICTURES = {
    "square": noisy(32, 32),
    "oblong": noisy(61, 43),
    "full": picture(40, 40),
    "one colour": np.full((8, 8, 3), (200, 17, 90), "uint8"),
    "two colours": np.repeat([[[3, 90, 250]] * 6, [[4, 90, 7]] * 6], 3, axis=0).astype("uint8"),
}


def difference(got: tf.Tensor, image: Image.Image) -> np.ndarray:
    assert got.dtype == tf.uint8
    return np.abs(got.numpy().astype(int) - np.asarray(image.convert("RGB")).astype(int))


@pytest.fixture(params=PICTURES)
def pixels(request):
    return PICTURES[request.param]


@pytest.mark.parametrize("factor", [0.0, 0.1, 0.55, 1.0, 1.9])
@pytest.mark.parametrize(
    ("ours", "pils"),
    [
        (colour.brightness, ImageEnhance.Brightness),
        (colour.contrast, ImageEnhance.Contrast),
        (colour.saturation, ImageEnhance.Color),
        (colour.sharpness, ImageEnhance.Sharpness),
    ],
)
def test_enhancements(ours, pils, factor, pixels):
    got = ours(tf.constant(pixels), tf.constant(factor))
    assert difference(got, pils(Image.fromarray(pixels)).enhance(factor)).max() <= 1


@pytest.mark.parametrize(
    ("ours", "pils"),
    [
        (colour.autocontrast, ImageOps.autocontrast),
        (colour.equalize, ImageOps.equalize),
        (colour.invert, ImageOps.invert),
        (colour.grayscale, ImageOps.grayscale),
    ],
)
def test_without_an_amount(ours, pils, pixels):
    assert difference(ours(tf.constant(pixels)), pils(Image.fromarray(pixels))).max() <= 1


@pytest.mark.parametrize("bits", range(9))
def test_posterize(bits, pixels):
    got = colour.posterize(tf.constant(pixels), tf.constant(bits))
    assert difference(got, ImageOps.posterize(Image.fromarray(pixels), bits)).max() == 0


@pytest.mark.parametrize("threshold", [0, 1, 128, 255, 256])
def test_solarize(threshold, pixels):
    got = colour.solarize(tf.constant(pixels), tf.constant(threshold))
    assert difference(got, ImageOps.solarize(Image.fromarray(pixels), threshold)).max() == 0


@pytest.mark.parametrize("added", [0, 50, 110, 128])
def test_solarize_add(added, pixels):
    table = [min(255, level + added) if level < 128 else level for level in range(256)]
    got = colour.solarize_add(tf.constant(pixels), tf.constant(added))
    assert difference(got, Image.fromarray(pixels).point(table * 3)).max() == 0


@pytest.mark.parametrize("radius", [0.1, 0.5, 1.0, 1.5, LARGEST])
@pytest.mark.parametrize("name", ["square", "oblong", "full", "one colour"])
def test_blur(radius, name):
    """PIL approximates the Gaussian with three box blurs, so the pictures differ slightly."""
    pixels = PICTURES[name]
    got = blur(tf.constant(pixels), tf.constant(radius))
    off = difference(got, Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))
    assert off.max() <= 3
    assert off.mean() < 1


def test_each_colour_operation_changes_something():
    image = tf.constant(PICTURES["square"])
    for changed in (
        colour.brightness(image, 0.5), colour.contrast(image, 0.5), colour.saturation(image, 0.5),
        colour.sharpness(image, 0.5), colour.autocontrast(image), colour.equalize(image),
        colour.invert(image), colour.grayscale(image), colour.posterize(image, tf.constant(2)),
        colour.solarize(image, tf.constant(128)), colour.solarize_add(image, tf.constant(50)),
        blur(image, tf.constant(1.0)),
    ):  # fmt: skip
        assert np.abs(changed.numpy().astype(int) - image.numpy()).mean() > 1
