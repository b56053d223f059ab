"""Colour operations as in PIL. Each takes a ``(H, W, 3)`` uint8 image and returns the same shape.

They replace keras-cv's layers of the same names, which draw their amounts from their own random
generator. In a parallel map two passes of these layers differ, and a resumed run sees other images.
keras-cv also computes in float32, which costs more time and memory than uint8.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

#: Weights of red, green and blue in the grey level (ITU-R 601-2, PIL's "L").
_LUMA = np.array([0.299, 0.587, 0.114], "float32")
_TO_GREY = np.repeat(_LUMA[:, None], 3, axis=1)  # (3, 3)
_ROUNDING = 1e-3  # grey levels, added before truncation: more than the rounding error of float32


def brightness(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Change the brightness: factor 0 is black, 1 the image (``ImageEnhance.Brightness``)."""
    return _levels(tf.cast(image, tf.float32) * factor)


def contrast(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Change the contrast: factor 0 is the mean grey, 1 the image (``ImageEnhance.Contrast``)."""
    image = tf.cast(image, tf.float32)
    by_column = tf.reduce_mean(_lines(image), axis=0)  # (S * 3,)
    colour = tf.reduce_mean(tf.reshape(by_column, [-1, 3]), axis=0)  # (3,)
    grey = tf.floor(tf.reduce_sum(colour * _LUMA) + 0.5)
    return _levels(image * factor + grey * (1.0 - factor))


def saturation(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Change the saturation: factor 0 is grey, 1 the image (``ImageEnhance.Color``)."""
    return _mixed_channels(image, _TO_GREY + factor * (np.eye(3, dtype="float32") - _TO_GREY))


def grayscale(image: tf.Tensor) -> tf.Tensor:
    """Return the grey image in three equal channels (``ImageOps.grayscale``)."""
    return _mixed_channels(image, _TO_GREY, 0.5)


def sharpness(image: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Change the sharpness: factor 0 is smoothed, 1 the image (``ImageEnhance.Sharpness``)."""
    lines = _lines(tf.cast(image, tf.float32))  # (H, W * 3)
    three = lines[:-2] + lines[1:-1] + lines[2:]
    nine = three[:, :-6] + three[:, 3:-3] + three[:, 6:]
    inner = lines[1:-1, 3:-3]
    smooth = tf.floor((nine + 4.0 * inner) / 13.0 + 0.5)
    change = (1.0 - factor) * (smooth - inner)  # PIL does not change the outermost pixels
    return _levels(tf.reshape(lines + tf.pad(change, [[1, 1], [3, 3]]), image.shape))


def autocontrast(image: tf.Tensor) -> tf.Tensor:
    """Stretch each channel to 0…255 (``ImageOps.autocontrast``)."""
    lines = _lines(tf.cast(image, tf.float32))  # (H, W * 3)
    # Reduce over the rows first: a direct reduction to three values is slow.
    low = tf.reduce_min(tf.reshape(tf.reduce_min(lines, axis=0), [-1, 3]), axis=0)  # (3,)
    high = tf.reduce_max(tf.reshape(tf.reduce_max(lines, axis=0), [-1, 3]), axis=0)
    scale = tf.where(high > low, 255.0 / tf.maximum(high - low, 1.0), 1.0)
    offset = tf.where(high > low, -low * scale, 0.0)
    width = image.shape[1]
    lines = lines * tf.tile(scale, [width]) + tf.tile(offset, [width])
    return _levels(tf.reshape(lines, image.shape))


def equalize(image: tf.Tensor) -> tf.Tensor:
    """Equalize the histogram of each channel (``ImageOps.equalize``)."""
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
    """Return the negative (``ImageOps.invert``)."""
    return tf.bitwise.invert(image)


def posterize(image: tf.Tensor, bits: tf.Tensor) -> tf.Tensor:
    """Keep the `bits` (int32) highest bits of each level (``ImageOps.posterize``)."""
    mask = 256 - tf.bitwise.left_shift(1, 8 - bits)
    return tf.bitwise.bitwise_and(image, tf.cast(mask, tf.uint8))


def solarize(image: tf.Tensor, threshold: tf.Tensor) -> tf.Tensor:
    """Invert all levels from `threshold` (int32) upwards (``ImageOps.solarize``)."""
    reached = tf.cast(image >= tf.cast(tf.minimum(threshold, 255), tf.uint8), tf.uint8)
    all_bits = tf.cast(tf.where(threshold <= 255, 255, 0), tf.uint8)
    return tf.bitwise.bitwise_xor(image, reached * all_bits)


def solarize_add(image: tf.Tensor, added: tf.Tensor) -> tf.Tensor:
    """Add `added` (int32, at most 128) to all levels below 128 (timm's ``solarize_add``)."""
    dark = tf.cast(image < 128, tf.uint8)
    return image + dark * tf.cast(added, tf.uint8)


def _lines(image: tf.Tensor) -> tf.Tensor:
    """Reshape to ``(H, W * 3)``, because TensorFlow is slow along an axis of three."""
    shape = image.shape
    return tf.reshape(image, [shape[0], shape[1] * shape[2]])


def _levels(image: tf.Tensor, rounding: float = _ROUNDING) -> tf.Tensor:
    """Clip to 0…255 and truncate to uint8, as PIL does."""
    return tf.cast(tf.clip_by_value(image + rounding, 0.0, 255.0), tf.uint8)


def _mixed_channels(image: tf.Tensor, matrix: tf.Tensor, rounding: float = _ROUNDING) -> tf.Tensor:
    pixels = tf.matmul(tf.reshape(tf.cast(image, tf.float32), [-1, 3]), matrix)
    return tf.reshape(_levels(pixels, rounding), image.shape)
