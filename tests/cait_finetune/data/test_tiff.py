"""TIFF files become NPY files with the same values, or are refused with the reason."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cait_finetune.data.bands import decode_bands
from cait_finetune.data.image_files.signatures import fault
from cait_finetune.data.tiff import to_npy, without_tiff

tifffile = pytest.importorskip("tifffile", reason="pip install 'cait-finetune[tiff]'")
RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 5)).astype("uint8")
FLOATS = RNG.normal(500.0, 300.0, (6, 5, 13)).astype("float32")


def written(values: np.ndarray, **options) -> bytes:
    file = io.BytesIO()
    tifffile.imwrite(file, values, **options)
    return file.getvalue()


def pages(*images: np.ndarray, **of_later_ones) -> bytes:
    file = io.BytesIO()
    with tifffile.TiffWriter(file) as writer:
        for number, image in enumerate(images):
            writer.write(image, **(of_later_ones if number else {}))
    return file.getvalue()


def pillow(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "TIFF", **options)
    return file.getvalue()


def read(data: bytes) -> np.ndarray:
    assert fault(data, bands=True) == ""
    return np.load(io.BytesIO(to_npy(data)))


@pytest.mark.parametrize("planar", [False, True])
def test_bands_become_channels(planar):
    stored = np.moveaxis(FLOATS, 2, 0) if planar else FLOATS
    config = "separate" if planar else "contig"
    data = tf.constant(written(stored, photometric="minisblack", planarconfig=config))
    np.testing.assert_array_equal(decode_bands(without_tiff(data), 13), FLOATS)


@pytest.mark.parametrize("compression", ["lzw", "deflate", "zstd"])
def test_compressed_files_are_read(compression):
    pytest.importorskip("imagecodecs", reason="pip install 'cait-finetune[tiff]'")
    deep = GREY.astype("uint16") * 257
    np.testing.assert_array_equal(
        read(written(deep, compression=compression, predictor=True)), deep
    )


def test_a_missing_codec_is_named(monkeypatch):
    class Missing(dict):
        def __missing__(self, key):
            raise KeyError(f"<COMPRESSION.LZW: {key}> requires the 'imagecodecs' package")

    data = pillow(Image.fromarray(GREY), compression="tiff_lzw")
    monkeypatch.setattr(tifffile.TIFF, "DECOMPRESSORS", Missing())
    found = fault(data, bands=True)
    assert "<COMPRESSION.LZW: 5> requires the 'imagecodecs' package" in found
    assert "pip install 'cait-finetune[tiff]'" in found


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (written(GREY, photometric="miniswhite"), 255 - GREY),
        (written(GREY > 99, photometric="minisblack"), np.where(GREY > 99, 255, 0)),
        (written(GREY > 99, photometric="miniswhite"), np.where(GREY > 99, 0, 255)),
        (written(np.moveaxis(FLOATS, 2, 0).astype(">f4"), byteorder=">"), FLOATS),
        (pages(*np.moveaxis(FLOATS, 2, 0)), FLOATS),
        (pages(GREY, GREY[::2, ::2], subfiletype=1), GREY),
        (pages(GREY, GREY > 99, subfiletype=4), GREY),
    ],
    ids=["white", "bits", "white bits", "big endian", "pages", "reduced", "mask"],
)  # fmt: skip
def test_values_mean_the_same_in_every_file(data, wanted):
    got = read(data)
    np.testing.assert_array_equal(got, wanted)
    assert got.dtype in (np.uint8, np.float32)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (pillow(Image.fromarray(GREY).convert("P")), "a TIFF with a palette"),
        (pillow(Image.fromarray(GREY), tiffinfo={274: 6}), "orientation 6, expected 1"),
        (pages(GREY, GREY[::2]), r"the images uint8 \(6, 5\), uint8 \(3, 5\), expected one size"),
        (pages(GREY, GREY, photometric="miniswhite"), "pages of several colours"),
        (written(np.stack([FLOATS, FLOATS]), photometric="minisblack", planarconfig="contig"),
         "the axes QYXS"),
        (written(GREY.astype("int16")), "a TIFF of int16, expected uint8, uint16"),
        (written(FLOATS[..., 0], photometric="miniswhite"), "from white to black"),
        (written(FLOATS)[:50], "a TIFF that tifffile cannot read"),
    ],
)  # fmt: skip
def test_other_files_are_refused(data, reason):
    with pytest.raises(ValueError, match=reason) as caught:
        to_npy(data)
    assert fault(data, bands=True) == str(caught.value)
    assert "NPY" not in str(caught.value)
