"""A square of a resized image equals the crop of the whole, with memory for the square only."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from cait_finetune.data.preprocess import Preprocessing
from cait_finetune.data.resize import crop_and_resize
from tests.cait_finetune.stand_ins import picture

#: Heights and widths. The images of `FAR` would be resized to many times the square.
SHAPES = [(48, 48), (75, 101), (101, 75), (333, 500), (9, 61), (64, 300), (300, 64)]
FAR = [(3, 700), (700, 3), (1, 1500), (1500, 1), (2, 999), (120, 2000), (2000, 90)]


def way(size, crop_pct=0.875, mode="shorter_side", interpolation="bicubic", antialias=True):
    return Preprocessing(size, crop_pct, interpolation, (0.0,) * 3, (1.0,) * 3, mode, antialias)


def whole_then_cut(image, one: Preprocessing):
    """Resize the whole image and crop the middle, with the sizes computed in Python."""
    height, width = image.shape[:2]
    new_height, new_width = one.image_size
    shape = tall, wide = int(new_height / one.crop_pct), int(new_width / one.crop_pct)
    if one.resize_mode == "shorter_side":
        if wide * height >= tall * width:  # the width is exact
            shape = (wide * height // width, wide)
        else:
            shape = (tall, tall * width // height)
    box = (0, 0, height, width)
    whole = crop_and_resize(tf.constant(image), box, shape, one.interpolation, one.antialias)
    top, left = (round((side - new) / 2) for side, new in zip(shape, one.image_size, strict=True))
    return whole[top : top + new_height, left : left + new_width]


WAYS = [
    way(33),
    way(8, 0.9, interpolation="bilinear"),
    way(8, 1.0, antialias=False),
    way(8, 0.1, "squash"),
    way((20, 33)),
    way((24, 8), 0.9),
    way((8, 12), 0.5, "squash"),
]


@pytest.mark.slow
@pytest.mark.parametrize("one", WAYS, ids=range(len(WAYS)))
def test_fit_equals_the_crop_of_the_resized_image_bit_for_bit(one):
    shapes = [tf.TensorSpec((None, None, 3), tf.uint8)]
    fit = tf.function(one.fit, shapes, autograph=False)
    for shape in SHAPES + FAR:
        image = picture(*shape)
        np.testing.assert_array_equal(fit(tf.constant(image)), whole_then_cut(image, one))


@pytest.mark.parametrize("shape", [SHAPES[1], FAR[0]])
def test_eager_fit_equals_the_crop_of_the_resized_image(shape):
    image = picture(*shape)
    got = WAYS[0].fit(tf.constant(image))
    np.testing.assert_array_equal(got, whole_then_cut(image, WAYS[0]))


def test_fit_shows_the_middle_of_a_long_strip():
    """The square shows one of 60,000 pixels. Pixels further away have another grey level."""
    image = np.zeros((1, 60_000, 3), "uint8")
    image[0, 29_995:30_005] = 200
    got = way(224).fit(tf.constant(image))
    assert got.shape == (224, 224, 3)
    np.testing.assert_array_equal(got, 200.0)


def test_fit_handles_a_side_of_12_million_pixels():
    image = np.zeros((12_000_000, 1, 3), "uint8")
    image[5_999_000:6_001_000] = 7
    np.testing.assert_array_equal(way(224).fit(tf.constant(image)), 7.0)


_GROWTH = """
import resource, sys
import numpy as np, tensorflow as tf
from cait_finetune.data.preprocess import Preprocessing

one = Preprocessing(96, 0.875, "bicubic", (0.0,) * 3, (1.0,) * 3)
fit = tf.function(one, autograph=False, reduce_retracing=True)
shapes = [tf.TensorSpec((None, None, 3), tf.uint8)]
fit = fit.get_concrete_function(*shapes)
fit(tf.zeros((40, 50, 3), tf.uint8))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for shape in ((1, 8000, 3), (8000, 1, 3), (2, 15000, 3), (15000, 2, 3)):
    fit(tf.zeros(shape, tf.uint8))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


@pytest.mark.slow
def test_fit_needs_memory_for_the_square_only():
    """Resizing the whole of such a narrow image would take many times the limit."""
    done = subprocess.run(
        [sys.executable, "-c", _GROWTH], capture_output=True, text=True, check=True
    )
    assert int(done.stdout.split()[-1]) < 150
