"""Image files to model input, against torchvision's geometry computed with PIL."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cait_tf import CaiTError, images


def gradient(height, width):
    rows, columns = np.mgrid[:height, :width]
    picture = np.stack([rows * 255 / height, columns * 255 / width, 0 * rows], -1)
    return Image.fromarray(picture.astype("uint8"))


@pytest.mark.parametrize("shape", [(100, 60), (60, 100), (33, 32), (32, 32), (7, 9)])
@pytest.mark.parametrize("crop_pct", [1.0, 0.875])
def test_a_square_is_resize_and_centre_crop(shape, crop_pct, tmp_path):
    image = gradient(*shape)
    image.save(tmp_path / "a.png")
    short = int(32 / crop_pct)
    scaled = [max(short, int(side * short / min(shape))) for side in shape]
    whole = image.resize(scaled[::-1], Image.Resampling.BICUBIC)
    top, left = (round((side - 32) / 2) for side in scaled)
    wanted = np.asarray(whole.crop((left, top, left + 32, top + 32)))
    np.testing.assert_array_equal(images.load_image(tmp_path / "a.png", (32, 32), crop_pct), wanted)


@pytest.mark.parametrize("shape", [(3, 900), (900, 3), (1, 3000), (60, 900), (900, 61), (2, 999)])
@pytest.mark.parametrize("crop_pct", [1.0, 0.875])
def test_of_a_strip_only_the_part_is_made(shape, crop_pct, tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype("uint8")
    Image.fromarray(noise).save(tmp_path / "a.png")
    got = images.load_image(tmp_path / "a.png", (32, 32), crop_pct)
    monkeypatch.setattr(images, "_FAR", np.inf)
    wanted = images.load_image(tmp_path / "a.png", (32, 32), crop_pct)
    assert got.shape == wanted.shape == (32, 32, 3)
    off = np.abs(got.astype(int) - wanted)
    assert off.max() <= 1
    assert (off > 0).mean() < 0.01


def test_a_strip_of_60_000_pixels(tmp_path):
    """A resize of the whole image before the crop would make billions of pixels."""
    strip = np.zeros((1, 60_000, 3), "uint8")
    strip[0, 29_990:30_010] = 200
    Image.fromarray(strip).save(tmp_path / "a.png")
    got = images.load_image(tmp_path / "a.png", (224, 224), 0.875)
    np.testing.assert_array_equal(got, np.full((224, 224, 3), 200))


def test_a_size_that_is_no_square_is_covered(tmp_path):
    gradient(60, 60).save(tmp_path / "a.png")
    got = images.load_image(tmp_path / "a.png", (16, 32))
    assert got.shape == (16, 32, 3)
    assert got[:, :, 0].min() > 50  # the crop removes top and bottom rows
    assert got[0, 0, 1] < 10  # the crop keeps all columns
    assert got[0, -1, 1] > 240


def test_load_image_applies_exif_rotation(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held sideways
    gradient(40, 40).save(tmp_path / "a.png", exif=exif)
    plain = images.load_image(tmp_path / "a.png", (32, 32))
    assert plain[0, :, 0].std() > 50  # the rotation turns rows into columns


def test_sixteen_bits_are_scaled(tmp_path):
    Image.fromarray(np.full((9, 9), 32768, "uint16")).save(tmp_path / "a.png")
    np.testing.assert_array_equal(images.load_image(tmp_path / "a.png", (8, 8)), 128)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_other_modes_become_rgb(mode, tmp_path):
    image = gradient(9, 9).convert(mode)
    image.save(tmp_path / "a.png")
    assert images.load_image(tmp_path / "a.png", (8, 8)).shape == (8, 8, 3)


@pytest.mark.parametrize("content", [b"", b"no image", b"\x89PNG\r\n\x1a\n" + bytes(30)])
def test_a_file_that_is_not_an_image_raises_an_error(content, tmp_path):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(CaiTError, match=r"image: got .*a\.jpg, expected a JPEG"):
        images.load_image(tmp_path / "a.jpg", (8, 8))


def test_a_truncated_file(tmp_path):
    gradient(200, 200).save(tmp_path / "a.jpg", quality=95)
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "a.jpg").write_bytes(data[: len(data) // 2])
    with pytest.raises(CaiTError, match="truncated"):
        images.load_image(tmp_path / "a.jpg", (8, 8))


def test_normalise_subtracts_the_mean_and_divides_by_std():
    got = images.normalise(np.full((2, 2, 3), 255, "uint8"))
    np.testing.assert_allclose(got[0, 0], [2.2489, 2.4286, 2.64], atol=1e-3)
    assert got.dtype == "float32"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_images_of_every_format_are_turned(kind, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (8, 4)).save(tmp_path / "image", kind, exif=exif)
    assert images.pil_pixels(Image.open(tmp_path / "image")).shape == (8, 4, 3)
