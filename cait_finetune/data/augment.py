"""Random crops and mirroring, as a pure function of the image and a seed."""

from __future__ import annotations

import tensorflow as tf

from cait_finetune.config import AugmentConfig
from cait_finetune.data.preprocess import Preprocessing


def augment(
    image: tf.Tensor,
    seed: tf.Tensor,
    config: AugmentConfig,
    preprocessing: Preprocessing,
    flip: bool = True,
) -> tf.Tensor:
    """``(h, w, 3)`` uint8 to ``(S, S, 3)`` normalised float32.

    ``seed`` is a pair of integers; the same seed gives the same picture, whatever ran before. A
    `crop_scale` of [1, 1] keeps evaluation's geometry.
    """
    draws = tf.random.stateless_uniform((5,), seed)
    if tuple(config.crop_scale) != (1.0, 1.0):
        box = _random_box(tf.shape(image)[0], tf.shape(image)[1], draws, config)
        size = preprocessing.image_size
        image = preprocessing.crop_and_resize(image, box, (size, size))
        image = preprocessing.normalise(image)
    else:
        image = preprocessing(image)
    if flip and config.flip:
        image = tf.cond(draws[4] < config.flip, lambda: tf.reverse(image, [1]), lambda: image)
    return image


def _random_box(
    height: tf.Tensor, width: tf.Tensor, draws: tf.Tensor, config: AugmentConfig
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Top, left, height and width in pixels: Inception's random resized crop.

    A box that does not fit is clipped instead of drawn again, and its edges need not be whole. If
    boxes larger than the image are wanted, none is clipped: what is outside the image is black.
    """
    h, w = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
    low, high = config.crop_scale
    area = h * w * (low + (high - low) * draws[0])
    low, high = tf.math.log(config.crop_ratio[0]), tf.math.log(config.crop_ratio[1])
    ratio = tf.exp(low + (high - low) * draws[1])  # width / height
    box_h, box_w = tf.sqrt(area / ratio), tf.sqrt(area * ratio)
    if max(config.crop_scale) <= 1.0:
        box_h, box_w = tf.minimum(box_h, h), tf.minimum(box_w, w)
    box_h, box_w = tf.maximum(box_h, 1.0), tf.maximum(box_w, 1.0)
    return (h - box_h) * draws[2], (w - box_w) * draws[3], box_h, box_w
