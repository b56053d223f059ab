"""Changes of colour, as PIL makes them: ``(S, S, 3)`` uint8 to the same, by the amount given.

They take the place of keras-cv's layers of the same names, which draw their amounts from a generator
of their own: in a parallel map two passes differ, and a resumed run sees other pictures. keras-cv's
arithmetic in float32 also costs more: a uint8 is a quarter of the memory.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

#: Shares of red, green and blue in the grey of a colour (ITU-R 601-2, PIL's "L").
_LUMA = np.array([0.299, 0.587, 0.114], "float32")
_TO_GREY = np.repeat(_LUMA[:, None], 3, axis=1)  # (3, 3)
_ROUNDING = 1e-3  # grey levels: more than float32 errs by, where the result is cut off


def brightness(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """0 is black, 1 the image, more brighter (``ImageEnhance.Brightness``)."""
    return _levels(tf.cast(image, tf.float32) * factor)


def contrast(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """0 is the mean grey, 1 the image, more is more (``ImageEnhance.Contrast``)."""
    image = tf.cast(image, tf.float32)
    by_column = tf.reduce_mean(_lines(image), axis=0)  # (S * 3,)
    colour = tf.reduce_mean(tf.reshape(by_column, [-1, 3]), axis=0)  # (3,)
    grey = tf.floor(tf.reduce_sum(colour * _LUMA) + 0.5)
    return _levels(image * factor + grey * (1.0 - factor))


def saturation(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """0 is grey, 1 the image, more is more colourful (``ImageEnhance.Color``)."""
    return _mixed_channels(image, _TO_GREY + factor * (np.eye(3, dtype="float32") - _TO_GREY))


def grayscale(image: tf.Tensor) -> tf.Tensor:
    """Grey, in three channels (``ImageOps.grayscale``)."""
    return _mixed_channels(image, _TO_GREY, 0.5)


def sharpness(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """0 is smoothed, 1 the image, more is sharper (``ImageEnhance.Sharpness``)."""
    lines = _lines(tf.cast(image, tf.float32))  # (S, S * 3)
    three = lines[:-2] + lines[1:-1] + lines[2:]
    nine = three[:, :-6] + three[:, 3:-3] + three[:, 6:]
    inner = lines[1:-1, 3:-3]
    smooth = tf.floor((nine + 4.0 * inner) / 13.0 + 0.5)
    change = (1.0 - factor) * (smooth - inner)  # the outermost pixels have none
    return _levels(tf.reshape(lines + tf.pad(change, [[1, 1], [3, 3]]), image.shape))


def autocontrast(image: tf.Tensor) -> tf.Tensor:
    """Each channel spread over 0 to 255 (``ImageOps.autocontrast``)."""
    lines = _lines(tf.cast(image, tf.float32))  # (S, S * 3)
    # By columns first: a reduction that leaves three values is slow.
    low = tf.reduce_min(tf.reshape(tf.reduce_min(lines, axis=0), [-1, 3]), axis=0)  # (3,)
    high = tf.reduce_max(tf.reshape(tf.reduce_max(lines, axis=0), [-1, 3]), axis=0)
    scale = tf.where(high > low, 255.0 / tf.maximum(high - low, 1.0), 1.0)
    offset = tf.where(high > low, -low * scale, 0.0)
    width = image.shape[1]
    lines = lines * tf.tile(scale, [width]) + tf.tile(offset, [width])
    return _levels(tf.reshape(lines, image.shape))


def equalize(image: tf.Tensor) -> tf.Tensor:
    """Each channel's grey levels made equally frequent (``ImageOps.equalize``)."""
    channels = np.tile(np.array([0, 256, 512], "int32"), image.shape[1])  # (S * 3,)
    places = tf.cast(_lines(image), tf.int32) + channels
    counts = tf.raw_ops.Bincount(arr=tf.reshape(places, [-1]), size=3 * 256, weights=tf.zeros((0,)))
    counts = tf.reshape(tf.cast(counts, tf.int32), [3, 256])
    levels = tf.range(256)
    brightest = tf.reduce_max(tf.where(counts > 0, levels, 0), axis=1)  # (3,)
    last = tf.gather(counts, brightest, batch_dims=1)
    step = ((tf.reduce_sum(counts, axis=1) - last) // 255)[:, None]  # (3, 1)
    before = tf.cumsum(counts, axis=1, exclusive=True)
    table = tf.where(step > 0, (before + step // 2) // tf.maximum(step, 1), levels)  # (3, 256)
    table = tf.cast(tf.minimum(table, 255), tf.uint8)
    return tf.reshape(tf.gather(tf.reshape(table, [-1]), places), image.shape)


def invert(image: tf.Tensor) -> tf.Tensor:
    """The negative (``ImageOps.invert``)."""
    return tf.bitwise.invert(image)


def posterize(image: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """The first `bits` of each grey level's eight, an int32 (``ImageOps.posterize``)."""
    mask = 256 - tf.bitwise.left_shift(1, 8 - bits)
    return tf.bitwise.bitwise_and(image, tf.cast(mask, tf.uint8))


def solarize(image: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
    """The negative from a grey level of `threshold` on, an int32 (``ImageOps.solarize``)."""
    reached = tf.cast(image >= tf.cast(tf.minimum(threshold, 255), tf.uint8), tf.uint8)
    all_bits = tf.cast(tf.where(threshold <= 255, 255, 0), tf.uint8)
    return tf.bitwise.bitwise_xor(image, reached * all_bits)


def solarize_add(image: tf.Tensor, added: tf.Tensor) -> tf.Tensor:
    """`added` grey levels, an int32 of at most 128, more for what has fewer than 128 (timm's)."""
    dark = tf.cast(image < 128, tf.uint8)
    return image + dark * tf.cast(added, tf.uint8)


def _lines(image: tf.Tensor) -> tf.Tensor:
    """``(S, S * 3)``: TensorFlow is slow along an axis of three."""
    shape = image.shape
    return tf.reshape(image, [shape[0], shape[1] * shape[2]])


def _levels(image: tf.Tensor, rounding: float = _ROUNDING) -> tf.Tensor:
    """Grey levels from 0 to 255, cut off to whole ones, as PIL does."""
    return tf.cast(tf.clip_by_value(image + rounding, 0.0, 255.0), tf.uint8)


def _mixed_channels(image: tf.Tensor, matrix: tf.Tensor, rounding: float = _ROUNDING) -> tf.Tensor:
    pixels = tf.matmul(tf.reshape(tf.cast(image, tf.float32), [-1, 3]), matrix)
    return tf.reshape(_levels(pixels, rounding), image.shape)
