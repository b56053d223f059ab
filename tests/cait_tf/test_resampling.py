"""Resampling matrices against PIL's resizing of float images."""

import numpy as np
import pytest
from PIL import Image

from cait_tf.resampling import resampling_matrix, whole_levels

KERNELS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(("old", "new"), [(17, 40), (40, 17), (300, 32), (1, 5), (8, 8)])
def test_the_resampling_matrix_equals_the_resize_of_pil(kernel, old, new):
    line = np.random.default_rng(0).normal(size=old).astype("float32")
    matrix = np.array(resampling_matrix(old, new, 0.0, old / new, kernel))
    assert matrix.shape == (new, old)
    wanted = np.asarray(Image.fromarray(line[None]).resize((new, 1), KERNELS[kernel]))[0]
    np.testing.assert_allclose(matrix @ line, wanted, atol=2e-5)


def test_the_matrix_of_a_part_equals_the_rows_of_the_whole():
    whole = np.array(resampling_matrix(50, 20, 0.0, 2.5, "bicubic"))
    part = np.array(resampling_matrix(50, 8, 6 * 2.5, 2.5, "bicubic"))
    np.testing.assert_allclose(part, whole[6:14], atol=1e-6)


def test_rows_outside_the_image_are_zero():
    matrix = np.array(resampling_matrix(10, 8, -10.0, 30 / 8, "bicubic"))
    np.testing.assert_allclose(matrix.sum(1), [0, 0, 0, 1, 1, 0, 0, 0], atol=1e-6)


def test_without_antialias_a_row_has_at_most_four_weights():
    assert (np.array(resampling_matrix(100, 10, 0.0, 10.0, "bicubic", False)) != 0).sum(
        1
    ).max() <= 4
    assert (np.array(resampling_matrix(100, 10, 0.0, 10.0, "bicubic")) != 0).sum(1).min() > 20


def test_whole_levels_clips_to_255_and_rounds_halves_up():
    levels = np.array(whole_levels(np.array([-3.0, 0.5, 1.49, 2.5, 254.6, 300.0], "float32")))
    np.testing.assert_array_equal(levels, [0, 1, 1, 3, 255, 255])
