"""The resized sides and the crop against torchvision's formulas, for integers and tensors."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest

from cait_tf.geometry import centre_crop, padded_box

SIDES = [
    *itertools.product((1, 31, 32, 33, 100, 224, 500, 1333), repeat=2),
    (60_000, 1),
    (2, 15_000),
]


def torchvisions(height: int, width: int, size: int, crop_pct: float):
    """Return the sides and corner that Resize(int(size / crop_pct)) and CenterCrop(size) compute."""
    wanted = int(size / crop_pct)
    short, long = min(height, width), max(height, width)
    long = int(wanted * long / short)
    sides = (wanted, long) if height <= width else (long, wanted)
    return sides, tuple(round((side - size) / 2.0) for side in sides)


@pytest.mark.parametrize("crop_pct", [1.0, 0.9, 0.875, 0.5])
@pytest.mark.parametrize("size", [224, 33])
def test_the_shorter_side_is_torchvisions(size, crop_pct):
    for height, width in SIDES:
        found = centre_crop((height, width), (size, size), crop_pct)
        assert found == torchvisions(height, width, size, crop_pct)


@pytest.mark.parametrize("size", [(32, 48), (48, 32)])
def test_a_crop_that_is_no_square_is_covered_and_one_side_is_exact(size):
    for sides in SIDES:
        resized, corner = centre_crop(sides, size, 0.8)
        covered = [int(side / 0.8) for side in size]
        assert all(new >= least for new, least in zip(resized, covered, strict=True))
        assert any(new == least for new, least in zip(resized, covered, strict=True))
        assert all(first >= 0 for first in corner)


def test_squash_ignores_the_sides():
    assert centre_crop((7, 900), (32, 32), 0.5, "squash") == ((64, 64), (16, 16))


@pytest.mark.parametrize("mode", ["shorter_side", "squash"])
def test_tensors_give_the_same_integers(mode):
    for sides in SIDES[::3]:
        tensors = [keras.ops.convert_to_tensor(side, "int32") for side in sides]
        found = centre_crop(tensors, (33, 33), 0.875, mode, keras.ops.maximum)
        assert [[int(one) for one in pair] for pair in found] == [
            list(pair) for pair in centre_crop(sides, (33, 33), 0.875, mode)
        ]


def test_margins_are_halved_to_even():
    margins = np.arange(0, 20)
    corners = [
        centre_crop((1, 1), (8, 8), 8 / (8 + margin + 1e-9), "squash")[1][0] for margin in margins
    ]
    assert corners == [round(int(8 / (8 / (8 + margin + 1e-9)) - 8) / 2) for margin in margins]


def test_the_square_around_an_image():
    assert padded_box((10, 4), (8, 8)) == ((0, -3), (10, 10))
    assert padded_box((4, 10), (8, 8)) == ((-3, 0), (10, 10))


def test_pad_has_the_ratio_of_the_input():
    assert padded_box((10, 4), (20, 10)) == ((0, -0.5), (10, 5))
    assert padded_box((10, 8), (20, 10)) == ((-3, 0), (16, 8))
