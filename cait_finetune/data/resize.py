"""Resize a part of an image in TensorFlow's graph, as PIL does."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

from cait_finetune.data.branch import branch
from cait_finetune.data.resampling import resample_part, whole_levels

_KERNELS = {"bilinear": "triangle", "bicubic": "keyscubic"}
_MARGIN = 3  # pixels beyond the box that a kernel of radius 2 may read, when not shrinking
# `resample_part` computes a part that ends more than this many of its sides from the top left corner.
_FAR = 4


def resize_and_crop(
    image: tf.Tensor,
    shape: tf.Tensor,
    corner: tf.Tensor,
    size: tuple[int, int],
    interpolation: str,
    antialias: bool = True,
    levels: bool = True,
) -> tf.Tensor:
    """Resize the whole image to `shape` and return a part of it: ``(*size, C)`` float32.

    The pixels equal those of `crop_and_resize` of the whole image, bit for bit. The memory is in
    proportion to the image and the part. The resized image can be far larger: for an image of
    60,000 x 1 pixels it has billions of pixels.

    Args:
        image: ``(h, w, C)``.
        shape: ``(2,)`` int64: height and width of the resized image.
        corner: ``(2,)`` int64: top and left of the part in the resized image.
        size: height and width of the part, in pixels.
        interpolation: ``bilinear`` or ``bicubic``.
        antialias: as in `crop_and_resize`.
        levels: as in `crop_and_resize`.
    """
    near, far = _ways(size, interpolation, antialias, levels)
    is_far = tf.reduce_any(corner + size > [_FAR * side for side in size])
    part = branch(tf.cast(is_far, tf.int32), [near, far], image, shape, corner)
    return tf.ensure_shape(part, (*size, image.shape[2]))


@functools.cache
def _ways(
    size: tuple[int, int], interpolation: str, antialias: bool, levels: bool
) -> tuple[Callable, Callable]:
    """Return two functions that make the part: near the image's top left corner, and far from it.

    A process traces both once, because a run has several pipelines with the same preprocessing.
    """
    options = {"interpolation": interpolation, "antialias": antialias, "levels": levels}

    def near(image: tf.Tensor, shape: tf.Tensor, corner: tf.Tensor) -> tf.Tensor:
        top, left = tf.unstack(tf.cast(corner, tf.int32))
        ends = tf.unstack(tf.cast(corner + size, tf.int32))
        scales = _scales(image, shape)
        # Drop the pixels that no row or column of the part reads.
        lengths = tf.cast(tf.stack(ends), tf.float32) / scales
        _, count = needed(tf.zeros(2), lengths, tf.shape(image)[:2], tuple(ends))
        image = tf.slice(image, [0, 0, 0], tf.concat([count, [image.shape[2]]], 0))
        return _resized(image, scales, tf.zeros(2), ends, corner=(top, left), **options)

    def far(image: tf.Tensor, shape: tf.Tensor, corner: tf.Tensor) -> tf.Tensor:
        return resample_part(image, _scales(image, shape), corner, size, **options)

    return tf.function(near, autograph=False), tf.function(far, autograph=False)


def _scales(image: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    return tf.cast(shape, tf.float32) / tf.cast(tf.shape(image)[:2], tf.float32)


def crop_and_resize(
    image: tf.Tensor,
    box: tuple,
    shape: tuple,
    interpolation: str,
    antialias: bool = True,
    levels: bool = True,
) -> tf.Tensor:
    """Resize a box of ``(h, w, C)`` to ``(*shape, C)`` float32.

    Like PIL's ``resize(shape, box=...)``, the function resizes the width first, then the height.
    After each step it clips the overshoot of bicubic interpolation and rounds to whole grey levels, halves
    up. Values that are not levels are neither clipped nor rounded, as in PIL's mode F. The part of the box
    outside the image is black: zeros.

    TensorFlow resamples a matrix along its first axis faster than an image of three channels. The
    function therefore reshapes the image to a matrix, and transposes it before each step.

    Args:
        box: top, left, height and width in pixels, possibly fractional.
        shape: new height and width.
        interpolation: ``bilinear`` or ``bicubic``.
        antialias: average over the pixels that become one pixel, as PIL does. False: sample points.
        levels: whether the values are 8-bit levels.
    """
    starts, lengths = split(box)  # (2,) each: of rows, of columns
    first, count = needed(starts, lengths, tf.shape(image)[:2], shape)
    channels = image.shape[2]
    image = tf.slice(image, tf.concat([first, [0]], 0), tf.concat([count, [channels]], 0))
    scales = tf.cast(tf.stack(shape), tf.float32) / lengths
    translations = -scales * (starts - tf.cast(first, tf.float32))
    return _resized(image, scales, translations, shape, interpolation, antialias, levels=levels)


def _resized(
    image: tf.Tensor,
    scales: tf.Tensor,
    translations: tf.Tensor,
    ends: Sequence[tf.Tensor | int],
    interpolation: str,
    antialias: bool,
    corner: Sequence[tf.Tensor | int] = (0, 0),
    levels: bool = True,
) -> tf.Tensor:
    """Return the resized pixels from `corner` to `ends`: x moves to ``scale * x + translation``."""
    rows, columns = tf.unstack(tf.shape(image)[:2])
    channels = image.shape[2]
    new_rows, new_columns = (end - first for first, end in zip(corner, ends, strict=True))

    def resample(lines: tf.Tensor, axis: int) -> tf.Tensor:
        part = (corner[axis], ends[axis])
        new = _resample(lines, scales[axis], translations[axis], part, interpolation, antialias)
        return whole_levels(new) if levels else new

    image = tf.transpose(tf.reshape(image, [rows, columns * channels]))  # (w * C, h)
    image = resample(tf.reshape(image, [columns, -1]), 1)  # (W, C * h)
    image = tf.transpose(tf.reshape(image, [new_columns * channels, rows]))  # (h, W * C)
    return tf.reshape(resample(image, 0), [new_rows, new_columns, channels])


def split(box: tuple) -> tuple[tf.Tensor, tf.Tensor]:
    """Return top and left, and height and width, of a box: ``(2,)`` float32 each.

    Later operations then treat both axes at once. An operation on one number takes as long as an
    operation on many.
    """
    top, left, height, width = (tf.cast(edge, tf.float32) for edge in box)
    return tf.stack([top, left]), tf.stack([height, width])


def needed(
    starts: tf.Tensor, lengths: tf.Tensor, sizes: tf.Tensor, new_lengths: tuple, more: int = 0
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the first index and the number, ``(2,)`` int32 each, of the rows and columns to read.

    Args:
        starts: ``(2,)`` float32: top and left of the box to resize.
        lengths: ``(2,)`` float32: height and width of the box.
        sizes: ``(2,)`` int32: height and width of the image.
        new_lengths: height and width of the resized box.
        more: further pixels on both sides.
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
    """Resample ``(n, m)`` to ``(N, m)``: line x moves to ``scale * x + shift``.

    Args:
        part: (start, stop) of the new lines. The line `stop` is excluded.
    """
    first, end = part
    resampled = tf.raw_ops.ScaleAndTranslate(
        # One row of pixels with m channels. TensorFlow would divide a column among all cores, but
        # each core already has its own image.
        images=lines[None, None],
        size=tf.stack([1, end]),
        scale=tf.stack([1.0, scale]),
        translation=tf.stack([0.0, shift]),
        kernel_type=_KERNELS[interpolation],
        antialias=antialias,
    )
    return tf.reshape(resampled, [end, -1])[first:]
