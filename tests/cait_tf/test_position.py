import numpy as np
import pytest

from cait_tf import position
from tests.cait_tf import golden


@pytest.mark.parametrize("side", [12, 24, 28])
def test_resampling_is_timms(side):
    arrays = golden.arrays("pos_embed_resample")
    got = position.resample(arrays["source_14"], (14, 14), (side, side))
    golden.assert_near(got, arrays[f"to_{side}"], tolerance=1e-5)


def test_the_same_grid_changes_nothing():
    source = golden.arrays("pos_embed_resample")["source_14"]
    golden.assert_near(position.resample(source, (14, 14), (14, 14)), source, tolerance=1e-6)


def test_height_and_width_keep_their_places():
    rows, columns = np.meshgrid(np.arange(4.0), np.arange(4.0), indexing="ij")
    source = np.stack([rows, columns], -1).reshape(1, 16, 2)
    height, width = position.resample(source, (4, 4), (4, 8)).reshape(4, 8, 2).transpose(2, 0, 1)
    np.testing.assert_allclose(height, height[:, :1].repeat(8, 1), atol=1e-6)
    np.testing.assert_allclose(width, width[:1].repeat(4, 0), atol=1e-6)
    assert (np.diff(width[0]) > 0).all()


def test_half_precision_is_resampled_in_float32():
    source = golden.arrays("pos_embed_resample")["source_14"].astype("float16")
    got = position.resample(source, (14, 14), (12, 12))
    assert got.dtype == np.float32
    expected = position.resample(source.astype("float32"), (14, 14), (12, 12))
    np.testing.assert_array_equal(got, expected)
