"""Decode a BMP file in TensorFlow's graph, to the pixels that PIL reads.

TensorFlow's own decoder does not support 1, 4 or 16 bits per pixel, or colour masks. It reads
palette indices as grey levels, and compressed bytes as pixels.
"""

from __future__ import annotations

import tensorflow as tf

from cait_finetune.data.branch import branch
from cait_finetune.data.refusal import refused_unless

#: Supported lengths of the info header in bytes. OS/2 writes 12 and 64.
HEADERS = (12, 40, 52, 56, 64, 108, 124)
#: Supported bits per pixel.
BITS = (1, 4, 8, 16, 24, 32)
#: Supported values of the field "compression": no compression, without and with colour masks.
PLAIN, MASKED = 0, 3

_CORE = 12  # OS/2's short header: 16-bit fields, and three palette bytes per colour
_FIELDS = 14  # number of 32-bit fields to read: the offset, the info header and three masks
_BYTES = (0xFF, 0xFF00, 0xFF0000, -0x1000000)  # masks that select one whole byte, as int32


def decode_bmp(data: tf.Tensor) -> tf.Tensor:
    """Decode the bytes of a file to ``(h, w, 3)`` uint8, without transparency.

    Raises:
        tf.errors.InvalidArgumentError: the header is unknown, the pixels are compressed or
            incomplete, or the masks are unusual.
    """
    size = 4 * _FIELDS
    head = tf.strings.join([tf.strings.substr(data, 10, size), bytes(size)])
    fields = tf.io.decode_raw(tf.strings.substr(head, 0, size), tf.int32)
    fields = tf.ensure_shape(fields, [_FIELDS])
    offset, header, width, height, depth, compression = tf.unstack(fields[:6])
    core = tf.equal(header, _CORE)
    bits = tf.bitwise.bitwise_and(tf.where(core, height, depth) // 2**16, 0xFFFF)
    height = tf.where(core, tf.bitwise.bitwise_and(width // 2**16, 0xFFFF), height)
    width = tf.where(core, tf.bitwise.bitwise_and(width, 0xFFFF), width)
    compression = tf.where(core, PLAIN, compression)
    masked = tf.equal(compression, MASKED) & (bits >= 16)
    known = tf.reduce_any(tf.equal(header, HEADERS)) & tf.reduce_any(tf.equal(bits, BITS))
    known &= tf.equal(compression, PLAIN) | masked
    data = refused_unless(known, "a BMP that is compressed or of an unknown kind", data)
    entry = tf.where(core, 3, 4)
    colours = tf.where(core | tf.equal(fields[9], 0), 2 ** tf.minimum(bits, 8), fields[9])
    palette = tf.where(bits <= 8, entry * tf.clip_by_value(colours, 0, 2**16), 0)
    # Some writers omit the offset, or do not add the palette's size to it.
    stated = (offset > 0) & ((bits > 8) | tf.not_equal(offset, 14 + header))
    start = tf.cast(tf.where(stated, offset, 14 + header + palette), tf.int64)
    rows, columns = tf.cast(tf.abs(height), tf.int64), tf.cast(width, tf.int64)
    row_bits = columns * tf.cast(bits, tf.int64)
    row = (row_bits + 31) // 32 * 4  # bytes
    # The last row's padding may be missing.
    end = start + row * (rows - 1) + (row_bits + 7) // 8
    whole = (rows > 0) & (columns > 0) & (end <= tf.cast(tf.strings.length(data), tf.int64))
    data = refused_unless(whole, "a BMP whose pixels are not all there", data)
    raw = tf.io.decode_raw(tf.strings.substr(data, start, rows * row), tf.uint8)
    missing = rows * row - tf.size(raw, tf.int64)
    raw = tf.cond(missing > 0, lambda: tf.pad(raw, [[0, missing]]), lambda: raw)
    raw = tf.reshape(raw, [rows, row])
    masks = tf.where(masked & tf.reduce_any(fields[11:] != 0), fields[11:], _usual_masks(bits))
    bgr = tf.reduce_all(tf.equal(masks, _usual_masks(24)))
    colours = tf.strings.substr(data, 14 + header, tf.minimum(palette, 256 * entry))
    from_below = height > 0
    return branch(
        tf.where(bits <= 8, 0, tf.where(bits < 24, 1, tf.where(bgr, 2, 3))),
        [
            lambda raw, below, width, bits, masks, *palette: _flipped(
                _from_palette(raw, width, bits, *palette), below
            ),
            lambda raw, below, width, bits, masks, *palette: _flipped(
                _from_16_bits(raw, width, masks), below
            ),
            lambda raw, below, width, bits, masks, *palette: _flipped(
                _pixels(raw, width, bits)[..., :3], below, bgr=True
            ),
            lambda raw, below, width, bits, masks, *palette: _flipped(
                _from_bytes(raw, width, bits, masks), below
            ),
        ],
        *(raw, from_below, columns, bits, masks, colours, entry),
    )


def _usual_masks(bits: tf.Tensor | int) -> tf.Tensor:
    return tf.where(tf.equal(bits, 16), [0x7C00, 0x3E0, 0x1F], [0xFF0000, 0xFF00, 0xFF])


# Each `_from_…` converts the rows' bytes (h, row) uint8 to (h, w, 3) uint8. The width is () int64.


def _from_palette(
    raw: tf.Tensor, width: tf.Tensor, bits: tf.Tensor, colours: tf.Tensor, entry: tf.Tensor
) -> tf.Tensor:
    """Look up each pixel in the palette `colours`, which has `entry` bytes per colour."""
    shifts = tf.cast(tf.range(8 - bits, -1, -bits), tf.uint8)  # the first pixel in the highest bits
    parts = tf.bitwise.right_shift(raw[..., None], shifts)  # (h, row, 8 / bits)
    parts = tf.bitwise.bitwise_and(parts, tf.cast(2**bits - 1, tf.uint8))
    numbers = tf.reshape(parts, [tf.shape(raw)[0], -1])[:, :width]
    palette = tf.io.decode_raw(colours, tf.uint8)
    palette = tf.pad(palette, [[0, 256 * entry - tf.shape(palette)[0]]])  # add black
    palette = tf.reshape(palette, [256, entry])[:, 2::-1]  # from BGR
    return tf.gather(palette, tf.cast(numbers, tf.int32))


def _from_16_bits(raw: tf.Tensor, width: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    pairs = tf.cast(tf.reshape(raw, [tf.shape(raw)[0], -1, 2])[:, :width], tf.int32)
    pixels = pairs[..., :1] + 256 * pairs[..., 1:]  # (h, w, 1)
    lowest = tf.bitwise.bitwise_and(masks, -masks)
    levels = masks // tf.maximum(lowest, 1)  # (3,), of the form 11…1
    neighbours = tf.reduce_all(tf.equal(tf.bitwise.bitwise_and(levels, levels + 1), 0))
    usual = neighbours & tf.reduce_all(masks > 0)
    pixels = refused_unless(usual, "a BMP of unusual masks", pixels)
    values = tf.bitwise.bitwise_and(pixels, masks) // lowest  # (h, w, 3)
    return tf.cast(values * 255 // levels, tf.uint8)


def _from_bytes(raw: tf.Tensor, width: tf.Tensor, bits: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    where = tf.equal(masks[:, None], _BYTES)  # (3, 4)
    usual = tf.reduce_all(tf.reduce_any(where, 1))
    raw = refused_unless(usual, "a BMP of unusual masks", raw)
    return tf.gather(_pixels(raw, width, bits), tf.argmax(where, 1), axis=2)


def _pixels(raw: tf.Tensor, width: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """Return the pixels' bytes, ``(h, w, 3 or 4)`` uint8."""
    size = tf.cast(bits // 8, tf.int64)
    return tf.reshape(raw[:, : width * size], [-1, width, size])


def _flipped(image: tf.Tensor, from_below: tf.Tensor, bgr: bool = False) -> tf.Tensor:
    """Return the rows from top to bottom, and the channels as RGB."""
    first = tf.where(from_below, 0, 2 if bgr else 1)
    return tf.reverse(image, tf.range(first, 3, 2) if bgr else tf.range(first, 1))
