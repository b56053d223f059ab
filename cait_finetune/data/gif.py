"""Decode the first picture of a GIF file in TensorFlow's graph, to the pixels that PIL reads.

TensorFlow's own decoder makes transparent pixels black. It also crops a picture that is smaller
than its canvas.
"""

from __future__ import annotations

import tensorflow as tf

from cait_finetune.data.refusal import refused_unless

_EXTENSION, _PICTURE = 0x21, 0x2C  # first byte of a block
_CONTROL = 0xF9  # label of the extension that states the transparent colour
_MOST_PIXELS = 2**27  # of a canvas: a tiny file can state any size
_BYTES = [bytes([value]) for value in range(256)]


def decode_gif(data: tf.Tensor) -> tf.Tensor:
    """Decode the bytes of a file to ``(h, w, 3)`` uint8: the first picture on its canvas.

    A transparent pixel gets the colour that the palette states for it. The canvas around the
    picture gets the same colour. In a file without transparency the canvas gets the palette's first
    colour.

    Raises:
        tf.errors.InvalidArgumentError: the file is damaged, or the canvas is too large.
    """
    raw = tf.io.decode_raw(tf.strings.join([data, bytes(16)]), tf.uint8)  # (n,)
    start, control = _first_picture(raw)
    found = tf.equal(raw[start], _PICTURE) & (start + 10 <= tf.strings.length(data))
    data = refused_unless(found, "a GIF without a picture", data)
    transparent = control > 0
    image = tf.io.decode_image(_plain(data, raw, start, control), 3, expand_animations=False)
    image = tf.ensure_shape(image, (None, None, 3))
    left, top, width, height = tf.unstack(_numbers(raw[start + 1 : start + 9], 4))
    canvas = tf.maximum(_numbers(raw[6:10], 2), tf.stack([left + width, top + height]))  # (w, h)
    # The start of the picture's own palette, or of the palette of all pictures.
    palette = tf.where(raw[start + 9] >= 0x80, start + 10, 13)
    number = tf.where(transparent, tf.cast(raw[control + 3], tf.int32), 0)
    colour = raw[palette + 3 * number : palette + 3 * number + 3]
    small = tf.reduce_prod(tf.cast(canvas, tf.int64)) <= _MOST_PIXELS
    image = refused_unless(small, "a GIF of too large a canvas", image)

    def on_canvas() -> tf.Tensor:
        right, bottom = canvas[0] - left - width, canvas[1] - top - height
        margins = [[top, bottom], [left, right], [0, 0]]
        inside = tf.pad(tf.ones([height, width, 1], tf.bool), margins)
        return tf.where(inside, tf.pad(image, margins), colour)

    filled = tf.reduce_all(tf.equal(canvas, tf.stack([width, height])))
    return tf.cond(filled, lambda: image, on_canvas)


def _first_picture(raw: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Return where the picture's block begins, and where the transparency flags are (0: none)."""

    def byte(at: tf.Tensor) -> tf.Tensor:
        return tf.cast(raw[tf.minimum(at, tf.size(raw) - 16)], tf.int32)

    def searching(at: tf.Tensor, inside: tf.Tensor, _: tf.Tensor) -> tf.Tensor:
        return (at < tf.size(raw) - 16) & (inside | tf.not_equal(byte(at), _PICTURE))

    def step(at: tf.Tensor, inside: tf.Tensor, control: tf.Tensor) -> tuple[tf.Tensor, ...]:
        length = byte(at)  # of an extension's sub-block; the last sub-block is empty
        begins = ~inside & tf.equal(length, _EXTENSION)
        states = begins & tf.equal(byte(at + 1), _CONTROL) & (byte(at + 3) % 2 > 0)
        next_ = at + tf.where(inside, length + 1, tf.where(begins, 2, 1))
        return next_, begins | (inside & (length > 0)), tf.where(states, at + 3, control)

    flags = byte(tf.constant(10))
    colours = tf.where(flags >= 0x80, 3 * 2 ** (flags % 8 + 1), 0)
    start, _, control = tf.while_loop(searching, step, [13 + colours, tf.constant(False), 0])
    return tf.minimum(start, tf.size(raw) - 16), control


def _plain(data: tf.Tensor, raw: tf.Tensor, start: tf.Tensor, control: tf.Tensor) -> tf.Tensor:
    """Return the file without transparency, and with its first picture in the canvas's corner.

    TensorFlow would shift the picture by its offset, but crop it to the picture's own size.
    """
    at = tf.where(control > 0, control, start)
    flags = tf.gather(_BYTES, tf.cast(raw[at], tf.int32) - tf.where(control > 0, 1, 0))
    between = tf.strings.substr(data, at + 1, start - at)
    after = tf.strings.substr(data, start + 5, tf.strings.length(data))
    return tf.strings.join([tf.strings.substr(data, 0, at), flags, between, bytes(4), after])


def _numbers(raw: tf.Tensor, count: int) -> tf.Tensor:
    """Convert ``(2 * count,)`` little-endian bytes to ``(count,)`` int32."""
    pairs = tf.cast(tf.reshape(raw, [count, 2]), tf.int32)
    return pairs[:, 0] + 256 * pairs[:, 1]
