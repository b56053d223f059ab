"""Random erasing: the frequency of the boxes, and the box sizes of timm."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cait_finetune.data.augmentation.erasing import box, erase

SIZE = 48


@tf.function
def erased_by(seed, probability):
    return erase(tf.fill((SIZE, SIZE, 3), 9.0), seed, probability)


def erased(seed: int, probability: float = 1.0) -> np.ndarray:
    return erased_by(tf.constant([5, seed], tf.int64), tf.constant(probability)).numpy()


def test_the_seed_decides():
    np.testing.assert_array_equal(erased(3), erased(3))
    assert len({erased(seed).tobytes() for seed in range(20)}) == 20


def test_in_a_share_of_the_images():
    assert 50 <= sum((erased(seed, 0.25) != 9.0).any() for seed in range(300)) <= 100
    assert not any((erased(seed, 0.0) != 9.0).any() for seed in range(20))


def test_area_ratio_and_noise():
    areas, ratios, values = [], [], []
    for seed in range(300):
        image = erased(seed)
        rows, columns = np.nonzero((image != 9.0).any(axis=-1))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert len(rows) == height * width  # all changed pixels form one box
        areas.append(height * width / SIZE**2)
        ratios.append(height / width)
        values.append(image[rows, columns].ravel())
    values = np.concatenate(values)
    assert 0.015 < min(areas) < 0.04
    assert 0.28 < max(areas) < 0.35
    assert np.mean(areas) == pytest.approx((0.02 + 1 / 3) / 2, abs=0.02)
    assert 0.25 < min(ratios) < 0.4
    assert 2.5 < max(ratios) < 4.0
    assert values.mean() == pytest.approx(0, abs=0.02)
    assert values.std() == pytest.approx(1, abs=0.02)


def test_erasing_reaches_every_row_and_column():
    seen = sum((erased(seed) != 9.0).any(axis=-1).astype(int) for seed in range(300))
    assert seen.any(axis=0).all()
    assert seen.any(axis=1).all()


@pytest.mark.parametrize("place", [0.0, 1.0 - 2**-24])
def test_the_box_is_inside(place):
    for area in (0.0, 0.5, 1.0):
        for ratio in (0.0, 0.5, 1.0):
            draws = tf.constant([place, place, area, ratio], tf.float32)
            top, left, height, width = (int(value) for value in box(draws, 20, 30))
            assert 0 <= top <= 20 - height
            assert 0 <= left <= 30 - width


def test_a_box_that_does_not_fit_is_drawn_again():
    """The first box is too tall for the image. Without a second draw, no box is erased."""
    first, second = (1.0, 1.0), (0.2, 0.5)
    *_, height, width = box(
        tf.constant([0.5, 0.5, first[0], second[0], first[1], second[1]]), 20, 20
    )
    *_, wanted_height, wanted_width = box(tf.constant([0.5, 0.5, *second]), 20, 20)
    assert (int(height), int(width)) == (int(wanted_height), int(wanted_width))
    assert int(box(tf.constant([0.5, 0.5, *first]), 20, 20)[2]) == 0


def test_an_image_in_which_no_box_fits_stays_as_it_is():
    """The image has one row, so every box is as high as the image."""
    image = tf.fill((1, 40, 3), 9.0)
    for seed in range(10):
        np.testing.assert_array_equal(erase(image, tf.constant([5, seed], tf.int64), 1.0), image)
