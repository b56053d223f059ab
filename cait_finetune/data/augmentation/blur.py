"""Gaussian blur of a ``(H, W, 3)`` uint8 image.

It replaces keras-cv's RandomGaussianBlur, which draws its widths from its own random generator. It
also replaces a convolution, which is slow in TensorFlow with three channels.
"""

from __future__ import annotations

import tensorflow as tf

#: The largest standard deviation, and the radius of the kernel, in pixels.
LARGEST, _REACH = 2.0, 6
_BLOCK = 16  # lines per block: one matrix product blurs all lines of a block


def blur(image: tf.Tensor, radius: tf.Tensor) -> tf.Tensor:
    """Blur an image as PIL's ``ImageFilter.GaussianBlur(radius)`` does.

    Args:
        image: ``(H, W, 3)`` uint8.
        radius: () float32, the standard deviation in pixels, at most `LARGEST`.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    height, width = image.shape[:2]
    columns = tf.transpose(tf.cast(image, tf.float32), [1, 0, 2])  # (W, H, 3)
    columns = _along_first(tf.reshape(columns, [width, height * 3]), radius)
    lines = tf.transpose(tf.reshape(columns, [width, height, 3]), [1, 0, 2])  # (H, W, 3)
    lines = _along_first(tf.reshape(lines, [height, width * 3]), radius)
    return tf.cast(tf.reshape(lines + 0.5, [height, width, 3]), tf.uint8)


def _along_first(lines: tf.Tensor, radius: tf.Tensor) -> tf.Tensor:
    """Blur ``(n, m)`` float32 along the first axis. The first and last line repeat beyond the ends."""
    count, window = lines.shape[0], _BLOCK + 2 * _REACH
    distance = tf.range(window)[None] - tf.range(_BLOCK)[:, None] - _REACH  # (BLOCK, window)
    far = tf.abs(distance) > _REACH
    weights = tf.exp(-0.5 * tf.square(tf.cast(distance, tf.float32) / radius))
    weights = tf.where(far, 0.0, weights)
    weights /= tf.reduce_sum(weights, axis=1, keepdims=True)
    starts = tf.range(0, count, _BLOCK)[:, None]  # (blocks, 1)
    needed = tf.clip_by_value(starts - _REACH + tf.range(window), 0, count - 1)  # (blocks, window)
    blurred = tf.matmul(weights, tf.gather(lines, needed))  # (blocks, BLOCK, m)
    return tf.reshape(blurred, [-1, lines.shape[1]])[:count]
