"""A part of an image at another size, as PIL resizes it, in TensorFlow's graph."""

from __future__ import annotations

from typing import Any

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
    times slower on pixels of three channels: hence the transpositions, of plain matrices, which are
    twice as fast as those of pixels.

    Args:
        box: top, left, height and width in pixels, which need not be whole.
        antialias: take the mean over the pixels that become one, as PIL does; else points of them.
    """
    starts, lengths = split(box)  # (2,) each: of rows, of columns
    first, count = needed(starts, lengths, tf.shape(image)[:2], shape)
    rows, columns = tf.unstack(count)
    channels = image.shape[2]
    image = tf.slice(image, tf.concat([first, [0]], 0), tf.concat([count, [channels]], 0))
    scales = tf.cast(tf.stack(shape), tf.float32) / lengths
    translations = -scales * (starts - tf.cast(first, tf.float32))
    (scale_y, scale_x), (shift_y, shift_x) = tf.unstack(scales), tf.unstack(translations)

    def resample(lines: tf.Tensor, scale: tf.Tensor, shift: tf.Tensor, length: Any) -> tf.Tensor:
        return _resample(lines, scale, shift, length, interpolation, antialias)

    image = tf.transpose(tf.reshape(image, [rows, columns * channels]))  # (w * C, h)
    image = resample(tf.reshape(image, [columns, -1]), scale_x, shift_x, shape[1])  # (W, C * h)
    image = tf.transpose(tf.reshape(image, [shape[1] * channels, rows]))  # (h, W * C)
    image = resample(image, scale_y, shift_y, shape[0])  # (H, W * C)
    return tf.reshape(image, [*shape, channels])


def split(box: tuple) -> tuple[tf.Tensor, tf.Tensor]:
    """Top and left, height and width, float32: both axes are worked on at once, as every operation
    on a number takes as long as one on a thousand."""
    top, left, height, width = (tf.cast(edge, tf.float32) for edge in box)
    return tf.stack([top, left]), tf.stack([height, width])


def needed(
    starts: tf.Tensor, lengths: tf.Tensor, sizes: tf.Tensor, new_lengths: tuple, more: int = 0
) -> tuple[tf.Tensor, tf.Tensor]:
    """First and number, ``(2,)`` each, of the rows and columns that the box's resampling looks at.

    Args:
        more: pixels besides these, on both sides.
    """
    new = tf.cast(tf.stack(new_lengths), tf.float32)
    shrinking = tf.maximum(1.0, lengths / new)  # widens the kernel
    margins = tf.math.ceil(_MARGIN * shrinking) + more
    first = tf.clip_by_value(tf.cast(tf.floor(starts - margins), tf.int32), 0, sizes - 1)
    last = tf.clip_by_value(tf.cast(tf.math.ceil(starts + lengths + margins), tf.int32), 1, sizes)
    return first, tf.maximum(last - first, 1)


def _resample(
    lines: tf.Tensor,
    scale: tf.Tensor,
    shift: tf.Tensor,
    length: tf.Tensor | int,
    interpolation: str,
    antialias: bool,
) -> tf.Tensor:
    """``(n, m)`` to ``(length, m)``: line x becomes ``scale * x + shift``, rounded and clipped."""
    resampled = tf.raw_ops.ScaleAndTranslate(
        # A row of pixels with m channels: of a column TensorFlow would make parts for all cores,
        # though each core has an image of its own.
        images=lines[None, None],
        size=tf.stack([1, length]),
        scale=tf.stack([1.0, scale]),
        translation=tf.stack([0.0, shift]),
        kernel_type=_KERNELS[interpolation],
        antialias=antialias,
    )
    resampled = tf.reshape(resampled, [length, -1])
    # min(max(x, 0), 255), then floor(x + .5), in one operation: with 256 levels from 0 to 255 a step is 1.
    return tf.quantization.fake_quant_with_min_max_args(resampled, min=0, max=255, num_bits=8)
