"""Preprocessing of decoded pixels equals that of image files."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import cait_tf
from cait_tf.images import load_image, normalise
from cait_tf.preprocessing import uint8_images


@pytest.mark.parametrize(("height", "width"), [(50, 70), (300, 224), (31, 33)])
@pytest.mark.parametrize("crop_pct", [1.0, 0.875])
def test_preprocessing_of_pixels_equals_that_of_files(height, width, crop_pct, tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (9, 9, 3), "uint8")
    image = Image.fromarray(noise).resize((width, height))  # smooth, as photographs are
    image.save(tmp_path / "a.png")
    pixels = np.asarray(image)
    wanted = normalise(load_image(tmp_path / "a.png", (224, 224), crop_pct))
    got = np.asarray(cait_tf.preprocess(pixels, "cait_xxs24_224", crop_pct=crop_pct))
    assert got.shape == (1, 224, 224, 3)
    level = 1 / 255 / min(cait_tf.get_variant("cait_xxs24_224").std)
    assert np.abs(got[0] - wanted).max() < 1.01 * level


def test_a_batch_and_another_size():
    pixels = np.zeros((2, 40, 30, 3), "uint8")
    assert cait_tf.preprocess(pixels, "cait_nano_32", image_size=64).shape == (2, 64, 64, 3)


def test_lists_and_pil_images():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 30, 3), "uint8")
    wanted = np.asarray(cait_tf.preprocess(pixels, "cait_nano_32"))
    pictures = [Image.fromarray(one) for one in pixels]
    for images in (list(pixels), tuple(pixels), pictures, [pixels[0], *pictures[1:]]):
        np.testing.assert_array_equal(cait_tf.preprocess(images, "cait_nano_32"), wanted)
    np.testing.assert_array_equal(cait_tf.preprocess(pictures[0], "cait_nano_32"), wanted[:1])
    grey = pictures[0].convert("L")
    assert uint8_images([grey, grey]).shape == (2, 40, 30, 3)
    with pytest.raises(cait_tf.CaiTError, match="images: got sizes 40x30 and 30x40"):
        uint8_images([pixels[0], pixels[0].transpose(1, 0, 2)])


def test_pil_images_are_turned_upright():
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held sideways
    pixels = np.random.default_rng(0).integers(0, 256, (8, 9, 3), "uint8")
    Image.fromarray(pixels).save(file := io.BytesIO(), "JPEG", exif=exif)
    pixels = np.asarray(Image.open(file))
    np.testing.assert_array_equal(uint8_images(Image.open(file))[0], np.rot90(pixels, -1))
    np.testing.assert_array_equal(uint8_images(Image.open(file), upright=False)[0], pixels)


@pytest.mark.parametrize("images", ["a.jpg", None, [[1, 2], [3]], [np.zeros((8, 8, 3))],
                                    Image.fromarray(np.zeros((8, 8), "uint16"))])  # fmt: skip
def test_input_that_is_not_an_image_raises_an_error(images):
    with pytest.raises(cait_tf.CaiTError, match=r"^images: got .*, expected .*uint8 levels"):
        uint8_images(images)


@pytest.mark.parametrize("pixels", [np.zeros((8, 8, 3)), np.zeros((8, 8, 3), "uint16"),
                                    np.zeros((8, 8), "uint8"), np.zeros((8, 8, 4), "uint8")])  # fmt: skip
def test_other_pixels_are_refused(pixels):
    with pytest.raises(cait_tf.CaiTError, match=r"^images: got .*, expected uint8 levels"):
        cait_tf.preprocess(pixels, "cait_nano_32")


def test_an_unknown_variant():
    with pytest.raises(cait_tf.CaiTError, match="did you mean 'cait_s24_224'"):
        cait_tf.preprocess(np.zeros((8, 8, 3), "uint8"), "cait_s24_244")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("crop_pct", 87.5),
        ("crop_pct", 0),
        ("crop_pct", -1),
        ("image_size", 0),
        ("image_size", (48, 48, 3)),
    ],
)
def test_sizes_out_of_range(key, value):
    with pytest.raises(cait_tf.CaiTError, match=rf"^{key}: got "):
        cait_tf.preprocess(np.zeros((8, 8, 3), "uint8"), "cait_nano_32", **{key: value})
