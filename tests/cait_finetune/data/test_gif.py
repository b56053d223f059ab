"""The decoder shows the first picture of a GIF on its canvas, as PIL does."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from cait_finetune.data.decode import decode

H, W = 13, 21


def saved(count: int = 1, **options) -> bytes:
    """Return a GIF of `count` random pictures in eight colours. No colour is black."""
    rng = np.random.default_rng(0)
    frames = [Image.fromarray(one) for one in rng.integers(0, 8, (count, H, W)).astype("uint8")]
    for frame in frames:
        frame.putpalette(rng.integers(30, 256, 24).astype("uint8").tobytes())
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=count > 1, append_images=frames[1:], **options)
    return buffer.getvalue()


def place_of_picture(data: bytes) -> int:
    at = 13 + (3 * 2 ** (data[10] % 8 + 1) if data[10] & 0x80 else 0)
    while data[at] != 0x2C:
        at += 2
        while data[at]:
            at += 1 + data[at]
        at += 1
    return at


def moved(data: bytes, canvas: tuple[int, int], corner: tuple[int, int]) -> bytes:
    """Return the GIF with another canvas size (w, h) and another picture corner (left, top)."""
    at = place_of_picture(data)
    data = data[: at + 1] + struct.pack("<HH", *corner) + data[at + 5 :]
    return data[:6] + struct.pack("<HH", *canvas) + data[10:]


def with_own_palette(data: bytes) -> bytes:
    """Return the GIF with the palette moved from the header to the first picture."""
    at = place_of_picture(data)
    end = 13 + 3 * 2 ** (data[10] % 8 + 1)
    own = data[at : at + 9] + bytes([data[at + 9] | 0x80 | data[10] % 8]) + data[13:end]
    return data[:10] + bytes([data[10] & 0x7F]) + data[11:13] + data[end:at] + own + data[at + 10 :]


PLAIN, CLEAR = saved(), saved(transparency=3)
FORMS = {
    "plain": PLAIN,
    "one colour is transparent": CLEAR,
    "moving": saved(3, transparency=3),
    "comment": saved(transparency=5, comment=b"!\xf9\x04\x01,;" * 99),
    "canvas is larger": moved(PLAIN, (40, 30), (7, 3)),
    "canvas is larger, transparent": moved(CLEAR, (40, 30), (7, 3)),
    "canvas is smaller": moved(CLEAR, (10, 10), (0, 0)),
    "beyond the canvas": moved(CLEAR, (W + 2, H + 2), (9, 9)),
    "no canvas": moved(PLAIN, (0, 0), (0, 0)),
    "own palette": with_own_palette(CLEAR),
    "own palette, canvas is larger": moved(with_own_palette(CLEAR), (40, 30), (7, 3)),
}


@pytest.mark.parametrize("form", FORMS)
def test_decode_equals_pil_for_every_form(form):
    wanted = np.asarray(Image.open(io.BytesIO(FORMS[form])).convert("RGB"))
    assert wanted.std() > 20
    np.testing.assert_array_equal(decode(tf.constant(FORMS[form])), wanted)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (moved(PLAIN, (65535, 65535), (0, 0)), "too large a canvas"),  # does not fit in memory
        (PLAIN[:40], "without a picture"),
        (PLAIN[:-60], "Invalid GIF data"),
    ],
)
def test_a_damaged_gif_raises_an_error(data, reason):
    decode_in_graph = tf.function(decode, [tf.TensorSpec((), tf.string)], autograph=False)
    for function in (decode, decode_in_graph):
        with pytest.raises(tf.errors.InvalidArgumentError, match=reason):
            function(tf.constant(data))
