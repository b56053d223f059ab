"""A part of an image at another size, as PIL resizes it, in TensorFlow's graph."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

from cait_finetune.data.branch import branch
from cait_finetune.data.resampling import resample_square, whole_levels

_KERNELS = {"bilinear": "triangle", "bicubic": "keyscubic"}
_MARGIN = 3  # pixels beyond the box that a kernel of radius 2 may look at, when not shrinking
_FAR = 4  # times the crop's length: where it ends beyond that, what is before it is not made


def resize_and_crop(
    image: tf.Tensor,
    shape: tf.Tensor,
    corner: tf.Tensor,
    size: int,
    interpolation: str,
    antialias: bool = True,
) -> tf.Tensor:
    """The square of `size` at `corner` of the whole image at `shape`: ``(size, size, C)`` float32.

    Bit for bit what `crop_and_resize` of the whole image gives there, in memory of the order of the
    image and the square: ``shape`` of an image of 60,000 x 1 pixels is a million times the square.

    Args:
        shape: ``(2,)`` int64, height and width.
        corner: ``(2,)`` int64, top and left.
    """
    near, far = _ways(size, interpolation, antialias)
    is_far = tf.reduce_any(corner + size > _FAR * size)
    square = branch(tf.cast(is_far, tf.int32), [near, far], image, shape, corner)
    return tf.ensure_shape(square, (size, size, image.shape[2]))


@functools.cache
def _ways(size: int, interpolation: str, antialias: bool) -> tuple[Callable, Callable]:
    """How the square is made where it is near the image's beginning, and where it is far.

    Both are traced once in a process: a run has several pipelines with this preprocessing.
    """
    options = {"interpolation": interpolation, "antialias": antialias}

    def near(image: tf.Tensor, shape: tf.Tensor, corner: tf.Tensor) -> tf.Tensor:
        top, left = tf.unstack(tf.cast(corner, tf.int32))
        ends = tf.unstack(tf.cast(corner + size, tf.int32))
        scales = _scales(image, shape)
        # What only lines behind the square look at is left out.
        lengths = tf.cast(tf.stack(ends), tf.float32) / scales
        _, count = needed(tf.zeros(2), lengths, tf.shape(image)[:2], tuple(ends))
        image = tf.slice(image, [0, 0, 0], tf.concat([count, [image.shape[2]]], 0))
        return _resized(image, scales, tf.zeros(2), ends, corner=(top, left), **options)

    def far(image: tf.Tensor, shape: tf.Tensor, corner: tf.Tensor) -> tf.Tensor:
        return resample_square(image, _scales(image, shape), corner, size, **options)

    return tf.function(near, autograph=False), tf.function(far, autograph=False)


def _scales(image: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    return tf.cast(shape, tf.float32) / tf.cast(tf.shape(image)[:2], tf.float32)


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
    channels = image.shape[2]
    image = tf.slice(image, tf.concat([first, [0]], 0), tf.concat([count, [channels]], 0))
    scales = tf.cast(tf.stack(shape), tf.float32) / lengths
    translations = -scales * (starts - tf.cast(first, tf.float32))
    return _resized(image, scales, translations, shape, interpolation, antialias)


def _resized(
    image: tf.Tensor,
    scales: tf.Tensor,
    translations: tf.Tensor,
    ends: Sequence[tf.Tensor | int],
    interpolation: str,
    antialias: bool,
    corner: Sequence[tf.Tensor | int] = (0, 0),
) -> tf.Tensor:
    """``(h, w, C)`` to the pixels from `corner` to `ends`: x becomes ``scale * x + translation``."""
    rows, columns = tf.unstack(tf.shape(image)[:2])
    channels = image.shape[2]
    new_rows, new_columns = (end - first for first, end in zip(corner, ends, strict=True))

    def resample(lines: tf.Tensor, axis: int) -> tf.Tensor:
        part = (corner[axis], ends[axis])
        return _resample(lines, scales[axis], translations[axis], part, interpolation, antialias)

    image = tf.transpose(tf.reshape(image, [rows, columns * channels]))  # (w * C, h)
    image = resample(tf.reshape(image, [columns, -1]), 1)  # (W, C * h)
    image = tf.transpose(tf.reshape(image, [new_columns * channels, rows]))  # (h, W * C)
    return tf.reshape(resample(image, 0), [new_rows, new_columns, channels])


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
    part: tuple[tf.Tensor | int, tf.Tensor | int],
    interpolation: str,
    antialias: bool,
) -> tf.Tensor:
    """``(n, m)`` to ``(N, m)``: line x becomes ``scale * x + shift``, rounded and clipped.

    Args:
        part: first and last but one of the new lines.
    """
    first, end = part
    resampled = tf.raw_ops.ScaleAndTranslate(
        # A row of pixels with m channels: of a column TensorFlow would make parts for all cores,
        # though each core has an image of its own.
        images=lines[None, None],
        size=tf.stack([1, end]),
        scale=tf.stack([1.0, scale]),
        translation=tf.stack([0.0, shift]),
        kernel_type=_KERNELS[interpolation],
        antialias=antialias,
    )
    return whole_levels(tf.reshape(resampled, [end, -1])[first:])
