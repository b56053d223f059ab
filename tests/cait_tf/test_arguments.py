"""Both ways to give a size. test_backbone.py tests refused arguments on the model itself."""

import numpy as np
import pytest

from cait_tf.arguments import grid_shape, image_shape


@pytest.mark.parametrize(
    "size", [64, np.int64(64), [64, 64], (64, 64), np.array([64, 64])], ids=repr
)
def test_a_size_is_one_side_or_two(size):
    assert image_shape(size) == (64, 64)


def test_a_grid_is_of_whole_patches():
    assert grid_shape(64, 32, 16) == (4, 2)
