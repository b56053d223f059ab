"""Every uncompressed BMP form decodes as in PIL. Other forms are refused."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cait_finetune.data.decode import decode
from tests.cait_finetune.data.bmp_files import H, W, bitmap, numbers, palette, picture_rows

RGB565, RGB555 = (0xF800, 0x7E0, 0x1F), (0x7C00, 0x3E0, 0x1F)
BGRX, XBGR = (0xFF0000, 0xFF00, 0xFF), (0xFF000000, 0xFF0000, 0xFF00)
RGBA = (0xFF, 0xFF00, 0xFF0000, 0xFF000000)

FORMS = {}
for bits in (1, 4, 8):
    rows = numbers(bits)
    for header in (12, 40, 52, 56, 64, 108, 124):
        colours = palette(2**bits, 3 if header == 12 else 4)
        FORMS[f"{bits} bits, header {header}"] = bitmap(bits, rows, header, palette=colours)
    FORMS[f"{bits} bits, from the top"] = bitmap(
        bits, rows, palette=palette(2**bits), top_down=True
    )
    FORMS[f"{bits} bits, colours unstated"] = bitmap(
        bits, rows, palette=palette(2**bits), colours=0
    )
    FORMS[f"{bits} bits, fewer colours"] = bitmap(bits, rows, palette=palette(2 ** (bits - 1)))
    FORMS[f"{bits} bits, gap"] = bitmap(bits, rows, palette=palette(2**bits), gap=10)
for top_down in (False, True):
    for name, bits, masks in (
        ("16", 16, ()),
        ("16 of 5, 6, 5", 16, RGB565),
        ("16 of 5, 5, 5", 16, RGB555),
        ("24", 24, ()),
        ("32", 32, ()),
        ("32 BGRX", 32, BGRX),
        ("32 XBGR", 32, XBGR),
    ):
        rows = picture_rows(bits)
        FORMS[f"{name}, {top_down}"] = bitmap(bits, rows, masks=masks, top_down=top_down)
        FORMS[f"{name}, V5, {top_down}"] = bitmap(bits, rows, 124, masks=masks, top_down=top_down)
FORMS["24, OS/2"] = bitmap(24, picture_rows(24), 12)
FORMS["32 RGBA"] = bitmap(32, picture_rows(32), 124, masks=RGBA)
FORMS["followed by more"] = FORMS["24, False"] + bytes(100)
FORMS["without the last padding"] = FORMS["24, False"][: -(-3 * W % 4)]
FORMS["without an offset"] = FORMS["24, False"][:10] + bytes(4) + FORMS["24, False"][14:]
EIGHT = FORMS["8 bits, header 40"]
FORMS["offset of the palette"] = EIGHT[:10] + struct.pack("<I", 54) + EIGHT[14:]


@pytest.mark.parametrize("form", FORMS)
def test_decode_equals_pil_for_every_form(form):
    wanted = np.asarray(Image.open(io.BytesIO(FORMS[form])).convert("RGB"))
    assert wanted.shape == (H, W, 3)
    assert wanted.std() > 20
    np.testing.assert_array_equal(decode(tf.constant(FORMS[form])), wanted)


@tf.function(input_signature=[tf.TensorSpec((), tf.string)], autograph=False)
def in_a_graph(data):
    return decode(data)


@pytest.mark.parametrize(
    "form", ["4 bits, header 12", "16 of 5, 6, 5, True", "24, False", "32 RGBA"]
)
def test_decode_gives_equal_pixels_in_a_graph_and_eagerly(form):
    np.testing.assert_array_equal(in_a_graph(FORMS[form]), decode(tf.constant(FORMS[form])))


def test_decode_applies_colour_masks_that_pil_refuses():
    nibbles = bitmap(16, [np.full(W, 0x0FA5, "<u2").tobytes() + bytes(2 * W % 4)] * H,
                     masks=(0xF00, 0xF0, 0xF))  # fmt: skip
    got = decode(tf.constant(nibbles)).numpy()
    assert (got == [0xF * 17, 0xA * 17, 0x5 * 17]).all()


def run_length(bits: int) -> bytes:
    """Return a run-length encoded BMP of one colour, padded to its uncompressed size."""
    data = (bytes([W, 3]) + b"\0\0") * H + b"\0\1"
    size = H * -(-W * bits // 32) * 4
    return bitmap(bits, [data.ljust(size, b"\0")], kind=1 if bits == 8 else 2, palette=palette(16))


REFUSED = {
    "RLE8": run_length(8),
    "RLE4": run_length(4),
    "JPEG inside": bitmap(0, [b"\xff\xd8\xff"], kind=4),
    "alpha masks": bitmap(32, picture_rows(32), kind=6, masks=BGRX),
    "2 bits": bitmap(2, picture_rows(8), palette=palette(4)),
    "ten bits a colour": bitmap(32, picture_rows(32), masks=(0x3FF00000, 0xFFC00, 0x3FF)),
    "a short OS/2 header": bitmap(24, picture_rows(24), 16),
    "cut": FORMS["24, False"][:-20],
    "60,000 x 60,000": FORMS["24, False"][:18] + struct.pack("<ii", 60000, 60000) + bytes(99),
    "no width": FORMS["24, False"][:18] + bytes(4) + FORMS["24, False"][22:],
}


@pytest.mark.parametrize("form", REFUSED)
def test_unsupported_forms_raise_an_error(form):
    for function in (decode, in_a_graph):
        with pytest.raises(tf.errors.InvalidArgumentError, match="a BMP "):
            function(tf.constant(REFUSED[form]))
