"""The rendering of a shape as an image."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cait_finetune.data.procedural import style

SIZES = [(30, 40), (3, 40), (40, 2), (1, 1)]


def rngs(count: int = 20) -> list[np.random.Generator]:
    return [np.random.default_rng(seed) for seed in range(count)]


@pytest.mark.parametrize("size", SIZES)
def test_a_letter_of_any_proportion_is_placed_inside(size):
    for rng in rngs():
        shape = style.placed(Image.new("L", size, 255), rng, 32)
        assert shape.shape == (32, 32)
        assert shape.min() >= 0
        assert shape.max() <= 1
    assert np.mean([style.placed(Image.new("L", size, 255), rng, 32).max() for rng in rngs()]) > 0.3


def test_halved_averages_two_by_two_blocks():
    shape = np.arange(16.0).reshape(4, 4)
    np.testing.assert_array_equal(style.halved(shape), [[2.5, 4.5], [10.5, 12.5]])


def test_coloured_gives_shape_and_background_a_contrast():
    shape = np.zeros((32, 32))
    shape[8:24, 8:24] = 1
    for rng in rngs():
        image = style.coloured(shape, rng)
        assert image.shape == (32, 32, 3)
        inside, outside = image[12:20, 12:20].mean(), image[:4].mean()
        assert abs(inside - outside) > 0.1


def test_worn_returns_uint8_of_nearly_equal_mean():
    image = np.full((32, 32, 3), 0.5)
    for rng in rngs():
        worn = style.worn(image, rng)
        assert worn.dtype == np.uint8
        assert abs(worn.mean() - 127.5) < 3
