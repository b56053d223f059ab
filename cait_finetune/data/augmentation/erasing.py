"""Random erasing (Zhong et al. 2017, https://arxiv.org/abs/1708.04896) as in timm and DeiT.

It replaces keras-cv's RandomCutout (0.9.0), which is slower and has boxes of one shape only. With
RandomCutout the same seed gives other images on each pass.
"""

from __future__ import annotations

import math

import tensorflow as tf

_AREA, _RATIO = (0.02, 1 / 3), (0.3, 1 / 0.3)
_ATTEMPTS = 10  # to draw a box that fits into the image


def erase(image: tf.Tensor, seed: tf.Tensor, probability: float) -> tf.Tensor:
    """Replace a box in a normalised image by Gaussian noise, with probability `probability`.

    The box has 2 to 33 % of the image's area, and an aspect ratio of 0.3 to 3.3.

    Args:
        image: ``(H, W, C)`` float32, normalised.
        seed: ``(2,)`` integers.
        probability: from 0 to 1.

    Returns:
        ``(H, W, C)`` float32.
    """
    chance = tf.random.stateless_uniform((), seed)
    erased = tf.cond(chance < probability, lambda: _erased(image, seed), lambda: image)
    return tf.ensure_shape(erased, image.shape)


# A separate function is one node of the graph, which makes the branch without erasing cheaper.
@tf.function(autograph=False, experimental_attributes={"_noinline": True})
def _erased(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    def other(number: int) -> tf.Tensor:
        return tf.random.experimental.stateless_fold_in(seed, number)

    draws = tf.random.stateless_uniform((2 + 2 * _ATTEMPTS,), other(1))
    top, left, rows, columns = box(draws, *image.shape[:2])
    begin = tf.stack([top, left])
    return tf.raw_ops.TensorStridedSliceUpdate(
        input=image,
        begin=begin,
        end=begin + tf.stack([rows, columns]),
        strides=[1, 1],
        value=tf.random.stateless_normal([rows, columns, image.shape[2]], other(2)),
    )


def box(draws: tf.Tensor, height: int, width: int) -> tuple[tf.Tensor, ...]:
    """Return top, left, height and width of the first box that fits into the image, () int32 each.

    If no box fits, the height is 0.

    Args:
        draws: ``(2 + 2 n,)`` in [0, 1): the position, then the areas and the aspect ratios of n boxes.
        height: of the image, in pixels.
        width: of the image, in pixels.
    """
    areas, ratios = tf.split(draws[2:], 2)  # (n,)
    area = height * width * (_AREA[0] + (_AREA[1] - _AREA[0]) * areas)
    low, high = math.log(_RATIO[0]), math.log(_RATIO[1])
    ratio = tf.exp(low + (high - low) * ratios)  # height / width
    rows, columns = tf.round(tf.sqrt(area * ratio)), tf.round(tf.sqrt(area / ratio))
    fits = (rows < height) & (columns < width)
    first = tf.argmax(fits)
    found = tf.cast(tf.reduce_any(fits), tf.float32)
    rows, columns = rows[first] * found, columns[first]
    top, left = tf.floor(draws[0] * (height + 1 - rows)), tf.floor(draws[1] * (width + 1 - columns))
    top, left = tf.minimum(top, height - rows), tf.minimum(left, width - columns)
    return tuple(tf.cast(value, tf.int32) for value in (top, left, rows, columns))
