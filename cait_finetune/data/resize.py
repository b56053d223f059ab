"""A part of an image at another size, as PIL resizes it, in TensorFlow's graph."""

from __future__ import annotations

import tensorflow as tf

_KERNELS = {"bilinear": "triangle", "bicubic": "keyscubic"}
_MARGIN = 3  # pixels beyond the box that a kernel of radius 2 may look at, when not shrinking


def crop_and_resize(
    image: tf.Tensor,
    box: tuple,
    shape: tuple,
    interpolation: str,
    antialias: bool = True,
) -> tf.Tensor:
    """``(h, w, C)`` to ``(*shape, C)`` float32 in whole grey levels.

    Like PIL's ``resize(shape, box=...)``: first the columns, then the rows, and after each the
    overshoot of bicubic interpolation is cut off and the rest rounded, halves up. What of the box
    is outside the image is black.

    TensorFlow's resampling is fast along an axis that has all the others behind it, and several
    times slower on pixels of three channels: hence the transpositions.

    Args:
        box: top, left, height and width in pixels, which need not be whole.
        antialias: take the mean over the pixels that become one, as PIL does; else points of them.
    """
    top, left, height, width = (tf.cast(edge, tf.float32) for edge in box)
    first_row, last_row = needed(top, height, tf.shape(image)[0], shape[0])
    first_column, last_column = needed(left, width, tf.shape(image)[1], shape[1])
    image = image[first_row:last_row, first_column:last_column]
    rows, channels = last_row - first_row, image.shape[2]

    columns = tf.reshape(tf.transpose(image, [1, 0, 2]), [-1, rows * channels])  # (w, h * C)
    left -= tf.cast(first_column, tf.float32)
    columns = _resample(columns, left, width, shape[1], interpolation, antialias)
    image = tf.transpose(tf.reshape(columns, [shape[1], rows, channels]), [1, 0, 2])
    top -= tf.cast(first_row, tf.float32)
    image = tf.reshape(image, [rows, shape[1] * channels])  # (h, W * C)
    return tf.reshape(
        _resample(image, top, height, shape[0], interpolation, antialias), [*shape, channels]
    )  # (H, W, C)


def needed(
    start: tf.Tensor,
    length: tf.Tensor,
    size: tf.Tensor,
    new_length: tf.Tensor | int,
    more: int = 0,
) -> tuple[tf.Tensor, tf.Tensor]:
    """First and last (exclusive) of the pixels along an axis that the box's resampling looks at.

    Args:
        more: pixels besides these, on both sides.
    """
    shrinking = tf.maximum(1.0, length / tf.cast(new_length, tf.float32))  # widens the kernel
    margin = tf.math.ceil(_MARGIN * shrinking) + more
    first = tf.clip_by_value(tf.cast(tf.floor(start - margin), tf.int32), 0, size - 1)
    last = tf.clip_by_value(tf.cast(tf.math.ceil(start + length + margin), tf.int32), 1, size)
    return first, tf.maximum(last, first + 1)


def _resample(
    lines: tf.Tensor,
    start: tf.Tensor,
    length: tf.Tensor,
    new_length: tf.Tensor | int,
    interpolation: str,
    antialias: bool,
) -> tf.Tensor:
    """``(n, m)`` to ``(new_length, m)``: lines from `start` on, rounded and clipped."""
    scale = tf.cast(new_length, tf.float32) / length
    one, zero = tf.ones_like(scale), tf.zeros_like(scale)
    resampled = tf.raw_ops.ScaleAndTranslate(
        images=lines[None, :, None, :],  # a column of pixels with m channels
        size=tf.stack([new_length, 1]),
        scale=tf.stack([scale, one]),
        translation=tf.stack([-scale * start, zero]),
        kernel_type=_KERNELS[interpolation],
        antialias=antialias,
    )[0, :, 0, :]
    # min(max(x, 0), 255), then floor(x + .5), in one operation: with 256 levels from 0 to 255 a step is 1.
    return tf.quantization.fake_quant_with_min_max_args(resampled, min=0, max=255, num_bits=8)
