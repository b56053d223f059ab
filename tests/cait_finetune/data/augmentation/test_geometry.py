"""Shearing, rotation and translation give the images of PIL."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cait_finetune.data.augmentation import geometry
from tests.cait_finetune.stand_ins import picture

PIXELS = picture(40, 40)
COLOUR = tuple(int(level) for level in geometry.FILL)


def transformed(matrix: tuple) -> np.ndarray:
    image = Image.fromarray(PIXELS)
    image = image.transform(
        image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR, fillcolor=COLOUR
    )
    return np.asarray(image)


def assert_alike(got: tf.Tensor, wanted: np.ndarray, share: float) -> None:
    """Assert that at most a `share` of the pixels differs by more than one grey level.

    These pixels lie where the image meets the fill. PIL does not blend image and fill.
    """
    assert got.shape == wanted.shape
    assert got.dtype == tf.uint8
    off = np.abs(got.numpy().astype(int) - wanted.astype(int)).max(axis=-1)
    assert (off > 1).mean() <= share


@pytest.mark.parametrize("factor", [-0.3, -0.07, 0.0, 0.1, 0.29])
def test_shear(factor):
    got = geometry.shear_x(tf.constant(PIXELS), tf.constant(factor))
    assert_alike(got, transformed((1, factor, 0, 0, 1, 0)), 0.02)
    got = geometry.shear_y(tf.constant(PIXELS), tf.constant(factor))
    assert_alike(got, transformed((1, 0, 0, factor, 1, 0)), 0.02)


@pytest.mark.parametrize("degrees", [-30.0, -3.0, 0.0, 12.0, 28.0])
def test_rotate(degrees):
    got = geometry.rotate(tf.constant(PIXELS), tf.constant(degrees))
    image = Image.fromarray(PIXELS)
    wanted = image.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=COLOUR)
    assert_alike(got, np.asarray(wanted), 0.06)


@pytest.mark.parametrize("pixels", [-40, -18, -1, 0, 1, 18, 40])
def test_translate(pixels):
    got = geometry.translate_x(tf.constant(PIXELS), tf.constant(pixels))
    assert_alike(got, transformed((1, 0, pixels, 0, 1, 0)), 0.0)
    got = geometry.translate_y(tf.constant(PIXELS), tf.constant(pixels))
    assert_alike(got, transformed((1, 0, 0, 0, 1, pixels)), 0.0)


def test_pixels_from_outside_have_the_mean_colour():
    image = tf.zeros((20, 20, 3), tf.uint8)
    for moved in (
        geometry.shear_x(image, tf.constant(0.3)),
        geometry.shear_y(image, tf.constant(-0.3)),
        geometry.rotate(image, tf.constant(30.0)),
        geometry.translate_x(image, tf.constant(5)),
        geometry.translate_y(image, tf.constant(-5)),
    ):
        colours = {tuple(pixel) for pixel in moved.numpy().reshape(-1, 3)}
        assert {COLOUR, (0, 0, 0)} <= colours
