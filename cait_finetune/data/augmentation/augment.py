"""Random crops, mirroring, colours, shapes and erasing, as a pure function of the image and a seed.

The seed is that of the run and the example's position in its stream: what an example looks like
depends on nothing that ran before, so a resumed run goes on with the pictures it would have seen. No
layer with a generator of its own can do that, which is why keras-cv's are not used here: the modules
of the operations say what was measured.
"""

from __future__ import annotations

import tensorflow as tf

from cait_finetune.config import AugmentConfig
from cait_finetune.data.augmentation.erasing import erase
from cait_finetune.data.augmentation.rand_augment import fold_in, rand_augment
from cait_finetune.data.augmentation.three_augment import color_jitter, three_augment
from cait_finetune.data.preprocess import Preprocessing

# Each kind of change has its own stream of draws: switching one on leaves the others as they are.
# The seed itself is the crop's and the mirroring's.
_RAND, _THREE, _JITTER, _ERASING = range(1, 5)


def augment(
    image: tf.Tensor,
    seed: tf.Tensor,
    config: AugmentConfig,
    preprocessing: Preprocessing,
    flip: bool = True,
    normalised: bool = True,
) -> tf.Tensor:
    """``(h, w, 3)`` uint8 to ``(S, S, 3)``, as `distort`.

    ``seed`` is a pair of integers; the same seed gives the same picture, whatever ran before. A
    `crop_scale` of [1, 1] keeps evaluation's geometry.
    """
    if crops(config):
        box = random_box(tf.shape(image)[0], tf.shape(image)[1], seed, config)
        size = preprocessing.image_size
        image = preprocessing.crop_and_resize(image, box, (size, size))
    else:
        image = preprocessing.fit(image)
    return distort(image, seed, config, preprocessing, flip, normalised)


def ends_in_levels(config: AugmentConfig) -> bool:
    """Whether the last thing that is done to an image is to normalise it."""
    return not config.erasing


def crops(config: AugmentConfig) -> bool:
    """Whether a part of the image is chosen by chance; else it is all of evaluation's."""
    return tuple(config.crop_scale) != (1.0, 1.0)


def distort(
    image: tf.Tensor,
    seed: tf.Tensor,
    config: AugmentConfig,
    preprocessing: Preprocessing,
    flip: bool = True,
    normalised: bool = True,
) -> tf.Tensor:
    """``(S, S, 3)`` in whole grey levels, cropped and resized already, to the input of a model.

    Args:
        normalised: float32; else, where the configuration `ends_in_levels`, uint8 to be normalised
            later.
    """
    levels = image
    if config.rand_operations or config.three_augment or config.color_jitter or not normalised:
        levels = tf.cast(image, tf.uint8)  # a quarter of the memory, which the time goes into
    if flip and config.flip:
        chance = tf.random.stateless_uniform((5,), seed)[4]
        levels = tf.cond(chance < config.flip, lambda: tf.reverse(levels, [1]), lambda: levels)
    if config.rand_operations:
        levels = rand_augment(
            levels,
            fold_in(seed, _RAND),
            config.rand_operations,
            config.rand_magnitude,
            config.rand_magnitude_std,
            config.rand_probability,
        )
    if config.three_augment:
        levels = three_augment(levels, fold_in(seed, _THREE))
    if config.color_jitter:
        levels = color_jitter(levels, fold_in(seed, _JITTER), config.color_jitter)
    if not normalised:
        return levels
    image = preprocessing.normalise(tf.cast(levels, tf.float32))
    if config.erasing:
        image = erase(image, fold_in(seed, _ERASING), config.erasing)
    return image


def random_box(
    height: tf.Tensor, width: tf.Tensor, seed: tf.Tensor, config: AugmentConfig
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Top, left, height and width in pixels, drawn by the seed: see `box_of`."""
    return box_of(tf.random.stateless_uniform((5,), seed), height, width, config)


def box_of(
    draws: tf.Tensor, height: tf.Tensor, width: tf.Tensor, config: AugmentConfig
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Top, left, height and width in pixels: Inception's random resized crop, of four chances.

    A box that does not fit is clipped instead of drawn again, and its edges need not be whole. If
    boxes larger than the image are wanted, none is clipped: what is outside the image is black.
    """
    area_draw, ratio_draw, top_draw, left_draw = tf.unstack(draws)[:4]
    h, w = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
    low, high = config.crop_scale
    area = h * w * (low + (high - low) * area_draw)
    low, high = tf.unstack(tf.math.log(tf.constant(config.crop_ratio)))
    ratio = tf.exp(low + (high - low) * ratio_draw)  # width / height
    box_h, box_w = tf.sqrt(area / ratio), tf.sqrt(area * ratio)
    if max(config.crop_scale) <= 1.0:
        box_h, box_w = tf.minimum(box_h, h), tf.minimum(box_w, w)
    box_h, box_w = tf.maximum(box_h, 1.0), tf.maximum(box_w, 1.0)
    return (h - box_h) * top_draw, (w - box_w) * left_draw, box_h, box_w
