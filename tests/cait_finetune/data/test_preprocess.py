"""Compare preprocessing with PIL, which torchvision's Resize and CenterCrop use."""

from __future__ import annotations

import dataclasses
import io
import math
import types

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from cait_finetune.config import PreprocessingConfig
from cait_finetune.data.decode import decode
from cait_finetune.data.preprocess import Preprocessing, configured
from tests.cait_finetune.stand_ins import encode, picture

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def levels(size: int | tuple[int, int], crop_pct: float = 1.0) -> Preprocessing:
    """Return a preprocessing without normalisation: its output times 255 is in grey levels."""
    return Preprocessing(size, crop_pct, "bicubic", (0.0,) * 3, (1.0,) * 3)


def with_pil(image: np.ndarray, size: int, crop_pct: float) -> np.ndarray:
    """Preprocess as torchvision: Resize(floor(size / crop_pct), BICUBIC), CenterCrop(size)."""
    height, width = image.shape[:2]
    short = math.floor(size / crop_pct)
    if height < width:
        scaled = (int(short * width / height), short)
    else:
        scaled = (short, int(short * height / width))
    resized = Image.fromarray(image).resize(scaled, Image.Resampling.BICUBIC)
    left = round((scaled[0] - size) / 2.0)
    top = round((scaled[1] - size) / 2.0)
    return np.asarray(resized.crop((left, top, left + size, top + size)), "float32")


@pytest.mark.parametrize("crop_pct", [1.0, 0.875])
@pytest.mark.parametrize(
    ("height", "width", "size"),
    [
        (64, 64, 32),  # shrink
        (100, 75, 32),
        (75, 101, 32),
        (333, 500, 64),
        (97, 31, 48),  # enlarge
        (8, 8, 32),
        (33, 40, 32),
        (32, 32, 32),  # keep the size
        (200, 41, 64),
        (20, 300, 32),
    ],
)
def test_within_one_grey_level_of_pil(height, width, size, crop_pct):
    image = picture(height, width)
    got = levels(size, crop_pct)(tf.constant(image)).numpy() * 255
    assert got.shape == (size, size, 3)
    np.testing.assert_allclose(got, np.round(got), atol=1e-3)
    difference = np.abs(got - with_pil(image, size, crop_pct))
    assert difference.max() <= 1.001
    assert (difference > 0.5).mean() < 0.02


def test_square_of_the_right_size_is_left_alone():
    image = picture(32, 32)
    np.testing.assert_allclose(levels(32)(tf.constant(image)) * 255, image, atol=0.01)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("box", [(0, 0, 40, 48), (3, 5, 20, 30), (2.5, 7.25, 21.5, 30.75)])
def test_a_part_of_the_image_as_pil_cuts_it(box, interpolation):
    """PIL's resize takes a fractional box too. It ignores pixels outside the box; ours uses them."""
    image = picture(40, 48)
    top, left, height, width = box
    mode = Image.Resampling[interpolation.upper()]
    wanted = np.asarray(
        Image.fromarray(image).resize((24, 16), mode, box=(left, top, left + width, top + height)),
        "float32",
    )
    preprocessing = dataclasses.replace(levels(32), interpolation=interpolation)
    got = preprocessing.crop_and_resize(tf.constant(image), box, (16, 24)).numpy()
    assert got.shape == (16, 24, 3)
    difference = np.abs(got - wanted)
    assert difference[2:-2, 2:-2].max() <= 1.0
    assert difference.mean() < 2.0


def test_crop_pct_cuts_the_border():
    image = np.zeros((64, 64, 3), "uint8")
    image[8:-8, 8:-8] = 255  # the white square is what crop_pct=0.75 keeps
    assert levels(48, 0.75)(tf.constant(image)).numpy().min() > 0.99
    assert levels(48, 1.0)(tf.constant(image)).numpy().min() == 0.0


def test_normalisation_subtracts_the_mean_and_divides_by_std():
    preprocessing = Preprocessing(16, 1.0, "bicubic", MEAN, STD)
    for level in (0, 128, 255):
        got = preprocessing(tf.fill((20, 30, 3), tf.constant(level, tf.uint8)))
        wanted = (level / 255 - np.array(MEAN)) / np.array(STD)
        np.testing.assert_allclose(got, np.broadcast_to(wanted, got.shape), atol=1e-5)


def test_a_batch_of_levels_is_normalised_as_each_image_is():
    preprocessing = Preprocessing(16, 1.0, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    levels = (
        np.arange(2 * 16 * 16 * 3).reshape(2, 16, 16, 3).astype(np.uint8)
    )  # contains every level
    each = [preprocessing.normalise(tf.cast(one, tf.float32)).numpy() for one in levels]
    got = preprocessing.normalise_levels(tf.constant(levels))
    np.testing.assert_allclose(got, each, rtol=0, atol=5e-7)  # about two units in the last place


@pytest.mark.slow
def test_static_shape_in_a_graph():
    function = tf.function(levels(16), input_signature=[tf.TensorSpec((None, None, 3), tf.uint8)])
    assert function.get_concrete_function().output_shapes == (16, 16, 3)


@pytest.mark.parametrize("file_format", ["PNG", "BMP"])
def test_lossless_formats(file_format):
    image = picture(12, 20)
    np.testing.assert_array_equal(decode(encode(image, file_format)), image)


def test_decode_of_a_jpeg_is_close_to_pil():
    image = picture(24, 40)
    data = encode(image, "JPEG", quality=95)
    wanted = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), "float32")
    got = decode(data).numpy().astype("float32")
    assert got.shape == image.shape
    assert np.abs(got - wanted).mean() < 2.0


@pytest.mark.parametrize(("file_format", "near"), [("PNG", 0), ("JPEG", 3)])
def test_grey_becomes_three_equal_channels(file_format, near):
    image = np.linspace(0, 255, 16 * 16).reshape(16, 16).astype("uint8")
    got = decode(encode(image, file_format)).numpy()
    assert got.shape == (16, 16, 3)
    assert (got[..., 0] == got[..., 1]).all()
    assert (got[..., 0] == got[..., 2]).all()
    assert np.abs(got[..., 0].astype(int) - image).max() <= near


def test_transparency_is_left_out():
    image = np.concatenate([picture(9, 9), np.full((9, 9, 1), 128, "uint8")], axis=-1)
    np.testing.assert_array_equal(decode(encode(image)), image[..., :3])


def test_first_frame_of_a_gif():
    first, second = (np.full((10, 14, 3), level, "uint8") for level in (250, 5))
    buffer = io.BytesIO()
    Image.fromarray(first).save(
        buffer, "GIF", save_all=True, append_images=[Image.fromarray(second)]
    )
    got = decode(buffer.getvalue())
    assert got.shape == (10, 14, 3)
    assert np.abs(got.numpy().astype(int) - first).max() <= 3


@pytest.mark.parametrize("data", [b"", b"no image", encode(picture(32, 32))[:60]])
def test_bytes_that_are_not_an_image_raise_an_error(data):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(data)


SIZES = [(64, 64), (100, 75), (75, 101), (333, 500), (97, 31), (8, 8), (20, 300)]
FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize("crop_pct", [1.0, 0.875])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_squash_is_pils_resize_to_a_square(height, width, crop_pct, interpolation):
    image, size = picture(height, width), 32
    scaled = math.floor(size / crop_pct)
    first = (scaled - size) // 2
    wanted = Image.fromarray(image).resize((scaled, scaled), FILTERS[interpolation])
    wanted = np.asarray(wanted, "float32")[first : first + size, first : first + size]
    squash = dataclasses.replace(
        levels(size, crop_pct), resize_mode="squash", interpolation=interpolation
    )
    got = squash.fit(tf.constant(image)).numpy()
    assert got.shape == (size, size, 3)
    assert np.abs(got - wanted).max() <= 1


@pytest.mark.parametrize("interpolation", FILTERS)
@pytest.mark.parametrize(
    ("height", "width"), [(64, 64), (96, 48), (48, 96), (16, 8), (80, 160), (32, 4), (20, 320)]
)
@pytest.mark.parametrize("size", [(32, 32), (32, 64), (64, 32)])
def test_pad_is_pils_pad_with_black(size, height, width, interpolation):
    """All image sizes scale to whole pixels, so that rounding a size makes no difference."""
    image = picture(height, width)
    wanted = ImageOps.pad(Image.fromarray(image), size[::-1], FILTERS[interpolation])
    pad = dataclasses.replace(levels(size), resize_mode="pad", interpolation=interpolation)
    got = pad.fit(tf.constant(image)).numpy()
    assert got.shape == (*size, 3)
    off = np.abs(got - np.asarray(wanted, "float32"))
    assert off.max() <= 1


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_pad_keeps_the_ratio_and_the_middle(height, width):
    """A white image keeps its share of white pixels and lies in the middle."""
    pad = dataclasses.replace(levels(48), resize_mode="pad")
    got = pad.fit(tf.fill((height, width, 3), tf.constant(255, tf.uint8))).numpy() / 255
    side = max(height, width)
    assert got.mean() == pytest.approx(height * width / side**2, abs=0.02)
    np.testing.assert_array_equal(got, got[::-1])
    np.testing.assert_array_equal(got, got[:, ::-1])
    corner = got[0, 0].max()
    assert corner == (1.0 if height == width else 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["shorter_side", "squash", "pad"])
def test_every_mode_in_a_graph_of_one_static_shape(mode):
    preprocessing = dataclasses.replace(levels(16, 0.9), resize_mode=mode)
    function = tf.function(
        preprocessing, input_signature=[tf.TensorSpec((None, None, 3), tf.uint8)]
    )
    assert function.get_concrete_function().output_shapes == (16, 16, 3)
    for height, width in ((16, 16), (1, 1), (7, 90), (200, 3)):
        image = tf.constant(picture(height, width))
        got = function(image)
        assert np.isfinite(got).all()
        np.testing.assert_allclose(got, preprocessing(image), atol=1e-6)


@pytest.mark.parametrize("mode", ["shorter_side", "squash", "pad"])
@pytest.mark.parametrize("interpolation", FILTERS)
def test_without_antialias_points_are_taken_as_tensorflow_does(mode, interpolation):
    image = tf.constant(picture(96, 96))
    plain = dataclasses.replace(
        levels(32), resize_mode=mode, interpolation=interpolation, antialias=False
    )
    wanted = tf.image.resize(tf.cast(image, tf.float32), (32, 32), interpolation)
    wanted = np.clip(np.round(wanted), 0, 255)
    got = plain.fit(image).numpy()
    # `fit` also rounds to whole levels between the two axes.
    assert np.abs(got - wanted).max() <= 1
    smooth = dataclasses.replace(plain, antialias=True).fit(image).numpy()
    assert np.abs(got - smooth).max() > 8
    larger = tf.constant(picture(12, 12))  # antialiasing only affects shrinking
    widened = dataclasses.replace(plain, antialias=True)
    np.testing.assert_array_equal(plain.fit(larger), widened.fit(larger))


OWN = (224, 0.875, "bicubic", MEAN, STD)


VARIANT = types.SimpleNamespace(
    **dict(zip(("image_size", "crop_pct", "interpolation", "mean", "std"), OWN, strict=True))
)


def test_preprocessing_defaults_to_the_values_of_the_variant():
    got = configured(PreprocessingConfig(), VARIANT, None, upright=True)
    assert got == Preprocessing(*OWN)
    assert (got.resize_mode, got.antialias, got.upright) == ("shorter_side", True, True)
    assert not configured(PreprocessingConfig(), VARIANT, None, upright=False).upright
    assert configured(PreprocessingConfig(), VARIANT, 64, upright=True).image_size == (64, 64)
    wide = configured(PreprocessingConfig(), VARIANT, [32, 64], upright=True)
    assert wide.image_size == (32, 64)


@pytest.mark.parametrize(
    ("key", "value", "field"),
    [
        ("resize_mode", "squash", "squash"),
        ("crop_pct", 1.0, 1.0),
        ("interpolation", "bilinear", "bilinear"),
        ("antialias", False, False),
        ("mean", [0.0, 0.0, 0.0], (0.0, 0.0, 0.0)),
        ("std", [0.5, 0.25, 1.0], (0.5, 0.25, 1.0)),
    ],
)
def test_a_configured_key_changes_its_own_field_only(key, value, field):
    got = configured(PreprocessingConfig(**{key: value}), VARIANT, None, upright=True)
    assert got == dataclasses.replace(Preprocessing(*OWN), **{key: field})
    hash(got)  # must stay hashable
