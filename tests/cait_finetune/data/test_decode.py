"""Every common kind of image file decodes as in PIL."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from cait_finetune.data.decode import decode, decode_part, exif_orientation
from cait_finetune.data.resize import crop_and_resize
from tests.cait_finetune.stand_ins import encode, picture

PICTURE = picture(40, 56, seed=3)


def oriented(orientation: int, image=PICTURE, kind="JPEG", **options) -> bytes:
    exif = Image.Exif()
    exif[0x010F] = "A maker with a rather long name"  # an entry before, with its value elsewhere
    exif[0x0112] = orientation
    exif[0x0131] = "software"
    options |= {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}}.get(kind, {})
    return encode(image, kind, exif=exif, **options)


def other_byte_order(data: bytes) -> bytes:
    """Replace the EXIF block by a big-endian one of orientation 6, as Nikon cameras write it."""
    start = data.index(b"Exif\0\0") + 6
    tiff = b"MM\0*" + (8).to_bytes(4, "big") + (1).to_bytes(2, "big")
    tiff += b"".join(n.to_bytes(size, "big") for n, size in ((0x0112, 2), (3, 2), (1, 4), (6, 2)))
    block = tiff + bytes(6)
    return data[:start] + block + data[start + len(block) :]


def as_pil(data: bytes) -> np.ndarray:
    return np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))


def sixteen_bits(image: np.ndarray) -> bytes:
    grey = image[..., 0].astype("uint16") * 256 + 99
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG")
    return buffer.getvalue()


def in_mode(mode: str, file_format: str, **options) -> bytes:
    image = Image.fromarray(PICTURE).convert(mode)
    if "A" in mode:
        image.putalpha(Image.fromarray(PICTURE[..., 1]))
    buffer = io.BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("mode", "file_format", "options", "tolerance"),
    [
        ("RGB", "JPEG", {}, 0),
        ("RGB", "JPEG", {"progressive": True}, 0),
        ("L", "JPEG", {}, 0),
        ("CMYK", "JPEG", {}, 2),
        ("RGB", "PNG", {}, 0),
        ("RGBA", "PNG", {}, 0),
        ("LA", "PNG", {}, 0),
        ("P", "PNG", {}, 0),
        ("1", "PNG", {}, 0),
        ("P", "GIF", {}, 0),
        ("L", "GIF", {}, 0),
        ("RGB", "BMP", {}, 0),
        ("RGBA", "BMP", {}, 0),
        ("P", "BMP", {}, 0),
        ("L", "BMP", {}, 0),
        ("RGB", "WEBP", {"lossless": True}, 0),
        ("RGB", "WEBP", {"quality": 80}, 0),
        ("RGBA", "WEBP", {"quality": 80}, 0),
        ("RGBA", "WEBP", {"lossless": True, "exact": True}, 0),
    ],
)
def test_decode_equals_pil_for_every_format_and_mode(mode, file_format, options, tolerance):
    data = in_mode(mode, file_format, **options)
    ours = decode(tf.constant(data)).numpy()
    assert ours.dtype == np.uint8
    assert np.abs(ours.astype(int) - as_pil(data)).max() <= tolerance
    np.testing.assert_array_equal(decode(data), ours)  # the export's check passes bytes


@pytest.mark.parametrize("text", [b"", b"Adobe Photoshop"])
def test_cmyk_without_the_adobe_marker_equals_pil(text):
    data = in_mode("CMYK", "JPEG")
    at = data.index(b"\xff\xee\0\x0eAdobe")
    comment = b"\xff\xfe" + (2 + len(text)).to_bytes(2, "big") + text
    data = data[:at] + comment + data[at + 16 :]
    whole = decode(tf.constant(data)).numpy()
    assert np.abs(whole.astype(int) - as_pil(data)).max() <= 2
    part, _ = decode_part(tf.constant(data), lambda h, w: (0.0, 0.0, 8.0, 8.0), (8, 8))
    np.testing.assert_array_equal(part, whole[: part.shape[0], : part.shape[1]])


def test_decode_keeps_the_upper_8_of_16_bits():
    ours = decode(tf.constant(sixteen_bits(PICTURE))).numpy()
    np.testing.assert_array_equal(ours, np.repeat(PICTURE[..., :1], 3, axis=-1))


def test_decode_takes_the_first_frame_of_an_animated_gif():
    frames = [Image.fromarray(picture(20, 30, seed)) for seed in range(3)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    ours = decode(tf.constant(buffer.getvalue())).numpy()
    np.testing.assert_array_equal(ours, as_pil(buffer.getvalue()))


def test_a_webp_that_moves_is_refused_and_not_tried():
    frames = [Image.fromarray(picture(20, 30, seed)) for seed in range(3)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "WEBP", save_all=True, append_images=frames[1:])
    with pytest.raises(tf.errors.InvalidArgumentError, match="animated WebP"):
        decode(tf.constant(buffer.getvalue()))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_upright(orientation, kind):
    data = oriented(orientation, kind=kind)
    assert exif_orientation(tf.constant(data)) == orientation
    np.testing.assert_array_equal(decode(tf.constant(data)), as_pil(data))
    lying = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    np.testing.assert_array_equal(decode(tf.constant(data), upright=False), lying)


def test_a_chunk_behind_the_pixels_and_a_second_mark():
    noise = picture(300, 400)
    data = oriented(6, noise, "PNG")
    start = data.index(b"eXIf") - 4
    chunk = data[start : start + 12 + int.from_bytes(data[start : start + 4], "big")]
    behind = data.replace(chunk, b"").replace(b"\0\0\0\0IEND", chunk + b"\0\0\0\0IEND")
    assert behind.index(b"eXIf") > behind.index(b"IDAT")
    np.testing.assert_array_equal(decode(tf.constant(behind)), as_pil(behind))
    data = oriented(6, noise, "WEBP")
    start = data.index(b"EXIF") + 8
    twice = data[:start] + b"Exif\0\0" + data[start:]
    assert exif_orientation(tf.constant(data)) == exif_orientation(tf.constant(twice)) == 6


def test_both_byte_orders():
    data = other_byte_order(oriented(1))
    assert as_pil(data).shape == (56, 40, 3)  # PIL reads a quarter turn, too
    assert exif_orientation(tf.constant(data)) == 6


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8",
        b"Exif\0\0",
        b"\xff\xd8Exif\0\0",
        b"\xff\xd8Exif\0\0II*\0\xff\xff\xff\xff",
        b"\xff\xd8" + bytes(4086) + b"Exif\0\0II",
        oriented(9),
        oriented(0),
        encode(PICTURE, "JPEG"),
        encode(PICTURE, "PNG"),
        b"\x89PNGeXIfnoise" + other_byte_order(oriented(1)),
        b"RIFF0000WEBPEXIF",
    ],
    ids=range(12),
)
def test_no_orientation_is_upright(data):
    assert exif_orientation(tf.constant(data)) == 1


@pytest.mark.parametrize(
    "data",
    [b"", b"B", b"BM", b"RIFF0000WEBP", b"RIFF0000WEBPVP8X", b"<html>", b"GIF89a",
     encode(PICTURE, "JPEG")[:300], encode(PICTURE, "PNG")[:300], encode(PICTURE, "BMP")[:300],
     encode(PICTURE, "WEBP")[:100]],
    ids=range(11),
)  # fmt: skip
def test_bytes_that_are_not_an_image_raise_an_error(data):
    for function in (decode, lambda one: decode_part(one, lambda h, w: (0, 0, h, w), (8, 8))):
        with pytest.raises(tf.errors.InvalidArgumentError):
            function(tf.constant(data))


@pytest.mark.parametrize(
    "data",
    [
        encode(picture(90, 120), "JPEG", subsampling=2, quality=80),
        encode(picture(90, 120), "JPEG", subsampling=0, progressive=True),
        oriented(6, picture(90, 120)),
        encode(picture(90, 120), "PNG"),
    ],
    ids=["subsampled", "progressive", "turned", "png"],
)
@pytest.mark.parametrize("shape", [(16, 16), (64, 48)])
def test_a_crop_of_a_decoded_part_equals_the_crop_of_the_whole_image(data, shape):
    whole = decode(tf.constant(data))
    height, width = whole.shape[:2]
    for top, left, box in (
        (0.0, 0.0, (1.0, 1.0)),
        (0.31, 0.47, (0.3, 0.24)),
        (0.6, 0.0, (0.11, 0.9)),
        (0.0, 0.73, (0.5, 0.27)),
    ):

        def choose(h, w, top=top, left=left, box=box):
            h, w = tf.cast(h, tf.float32), tf.cast(w, tf.float32)
            return top * h, left * w, box[0] * h, box[1] * w

        part, inside = decode_part(tf.constant(data), choose, shape)
        wanted = crop_and_resize(whole, choose(height, width), shape, "bicubic")
        got = crop_and_resize(part, inside, shape, "bicubic")
        np.testing.assert_array_equal(got, wanted)


def test_decode_part_of_a_jpeg_decodes_the_part_only():
    data = tf.constant(encode(picture(400, 400), "JPEG"))
    part, _ = decode_part(data, lambda h, w: (100.0, 100.0, 32.0, 32.0), (32, 32))
    assert max(part.shape[:2]) <= 32 + 2 * (3 + 2)
