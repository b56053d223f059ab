"""Attention maps against their definitions, and the images drawn from them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cait_tf import CaiTError, attention_maps, pictures
from tests.cait_tf import golden

GRID = (4, 4)


@pytest.fixture(scope="module")
def attention():
    forward = golden.arrays("forward")
    return {name: forward[name] for name in golden.TRUNK_MAPS + golden.CLASS_MAPS}


@pytest.mark.parametrize("block", [0, 1])
def test_class_attention_is_the_class_tokens_row_without_itself(attention, block):
    maps = attention_maps.class_attention_maps(attention, GRID, block)
    assert maps.shape == (4, 2, 4, 4)
    raw = attention[f"ca_ffn_block_{block}_att"]
    assert maps[1, 1, 2, 3] == raw[1, 1, 0, 1 + 2 * 4 + 3]
    np.testing.assert_allclose(maps.sum((2, 3)), 1 - raw[:, :, 0, 0], atol=1e-6)


def test_a_grid_that_is_no_square():
    raw = {"ca_ffn_block_0_att": np.arange(9, dtype="float32").reshape(1, 1, 1, 9)}
    maps = attention_maps.class_attention_maps(raw, (2, 4))
    np.testing.assert_array_equal(maps[0, 0], [[1, 2, 3, 4], [5, 6, 7, 8]])


def test_saliency_is_the_mean_over_heads_from_0_to_1(attention):
    got = attention_maps.class_saliency_map(attention, GRID)
    mean = attention["ca_ffn_block_0_att"][2, :, 0, 1:].mean(0).reshape(4, 4)
    np.testing.assert_allclose(got[2], (mean - mean.min()) / np.ptp(mean), atol=1e-6)
    assert (got.min((1, 2)) == 0).all()
    assert (got.max((1, 2)) == 1).all()


def test_a_flat_map_is_not_divided_by_zero():
    flat = {"ca_ffn_block_0_att": np.full((1, 2, 1, 17), 1 / 17)}
    np.testing.assert_array_equal(
        attention_maps.class_saliency_map(flat, GRID), np.zeros((1, 4, 4))
    )


def test_rollout_follows_a_path_through_the_blocks():
    """Patch 2 attends to patch 5 in the trunk, and the class token attends to patch 2 only."""
    trunk = np.tile(np.eye(16), (1, 2, 1, 1))
    trunk[0, :, 2] = np.eye(16)[5]
    cls = np.zeros((1, 2, 1, 17))
    cls[..., 1 + 2] = 1
    maps = {"sa_ffn_block_0_att": trunk, "ca_ffn_block_0_att": cls}
    rolled = attention_maps.attention_rollout(maps, GRID).reshape(16)
    np.testing.assert_allclose(rolled[[2, 5]], [0.5, 0.5])  # half each: residual, attention
    assert rolled.sum() == pytest.approx(1)


def test_rollout_of_a_second_class_block_starts_from_the_first():
    trunk = np.tile(np.eye(16), (1, 1, 1, 1))
    first, second = np.zeros((1, 1, 1, 17)), np.zeros((1, 1, 1, 17))
    first[..., 1 + 3] = 1
    second[..., 0] = 1  # attends to itself only and adds nothing
    maps = {"sa_ffn_block_0_att": trunk, "ca_ffn_block_0_att": first, "ca_ffn_block_1_att": second}
    rolled = attention_maps.attention_rollout(maps, GRID).reshape(16)
    np.testing.assert_allclose(rolled, np.eye(16)[3])


def test_rollout_of_talking_heads(attention):
    assert min(attention[name].min() for name in golden.TRUNK_MAPS) < 0  # not a distribution
    rolled = attention_maps.attention_rollout(attention, GRID)
    assert rolled.shape == (4, 4, 4)
    assert (rolled > 0).all()
    np.testing.assert_allclose(rolled.sum((1, 2)), 1)


def test_upsampled_maps_keep_their_place():
    maps = np.zeros((2, 3, 4, 4))
    maps[0, 1, 3, 0] = 1
    large = attention_maps.upsample(maps, (64, 32))
    assert large.shape == (2, 3, 64, 32)
    assert np.unravel_index(large[0, 1].argmax(), (64, 32)) > (48, 0)
    assert large[0, 1, 56, 4] > 0.9
    assert np.abs(large[0, 0]).max() == 0


@pytest.fixture
def photo(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 70, 3), "uint8")).save(path)
    return path


@pytest.mark.parametrize("size", [(64, 64), (64, 128), (128, 64)])
def test_pictures_have_no_bare_stripes(size, tmp_path):
    """Images of any shape fill the figure's height, except for the titles."""
    image = np.zeros((*size, 3), "uint8")
    pictures.draw_overlay(image, np.zeros(size), "title", "kind", tmp_path / "a.png")
    pixels = np.asarray(Image.open(tmp_path / "a.png").convert("RGB"))
    black = (pixels[:, : pixels.shape[1] // 4] == 0).all(-1).any(1)  # rows that the image covers
    assert black.sum() > pixels.shape[0] - 120


@pytest.mark.slow
@pytest.mark.parametrize("image_size", [64, [32, 64]])
def test_write_maps_writes_three_images(photo, tmp_path, image_size):
    model = golden.classifier(image_size=image_size)
    files = attention_maps.write_maps(model, photo, tmp_path / "maps")
    names = ["photo_saliency.png", "photo_class_attention.png", "photo_rollout.png"]
    assert [file.name for file in files] == names
    for file in files:
        with Image.open(file) as picture:
            assert picture.width > 500
            assert np.asarray(picture.convert("L")).std() > 10  # the image is not blank


def test_write_maps_refuses_a_model_of_bands(photo, tmp_path):
    model = golden.classifier(in_channels=4)
    with pytest.raises(CaiTError, match="model: got one of in_channels=4, expected 3"):
        attention_maps.write_maps(model, photo, tmp_path / "maps")
    assert not (tmp_path / "maps").exists()
