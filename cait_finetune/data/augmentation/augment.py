"""Random crops, mirroring, colours, shapes and erasing, as a pure function of the image and a seed.

The seed combines the run's seed and the example's position in the stream. An augmented image does
not depend on earlier draws, so a resumed run sees the same images as an uninterrupted run.
keras-cv's layers have random generators of their own and cannot reproduce an image, so this package
does not use them. The module of each operation compares the operation with keras-cv's.
"""

from __future__ import annotations

import tensorflow as tf

from cait_finetune.config import AugmentConfig
from cait_finetune.data.augmentation.erasing import erase
from cait_finetune.data.augmentation.rand_augment import fold_in, rand_augment
from cait_finetune.data.augmentation.three_augment import color_jitter, three_augment
from cait_finetune.data.preprocess import Preprocessing

# Each augmentation has its own random stream: enabling one does not change the draws of the others.
# The crop and the mirroring draw from the seed itself.
_RAND, _THREE, _JITTER, _ERASING = range(1, 5)


def augment(
    image: tf.Tensor,
    seed: tf.Tensor,
    config: AugmentConfig,
    preprocessing: Preprocessing,
    flip: bool = True,
    normalised: bool = True,
) -> tf.Tensor:
    """Crop and resize a decoded ``(h, w, C)`` image to ``(H, W, C)``, then `distort` it.

    Args:
        seed: a pair of integers. The same seed gives the same image.
        config: a `crop_scale` of [1, 1] keeps evaluation's geometry.
        flip: False: never mirror the image.
        normalised: as in `distort`.
    """
    if crops(config):
        size = preprocessing.image_size
        box = random_box(tf.shape(image)[0], tf.shape(image)[1], seed, config, size)
        image = preprocessing.crop_and_resize(image, box, size)
    else:
        image = preprocessing.fit(image)
    return distort(image, seed, config, preprocessing, flip, normalised)


def ends_in_levels(config: AugmentConfig) -> bool:
    """Return whether normalising is the last operation on an image."""
    return not config.erasing


def crops(config: AugmentConfig) -> bool:
    """Return whether the crop is random; otherwise the crop is evaluation's."""
    return tuple(config.crop_scale) != (1.0, 1.0)


def distort(
    image: tf.Tensor,
    seed: tf.Tensor,
    config: AugmentConfig,
    preprocessing: Preprocessing,
    flip: bool = True,
    normalised: bool = True,
) -> tf.Tensor:
    """Turn a cropped and resized ``(H, W, C)`` image into a model's input. RGB is in whole grey levels.

    Args:
        seed: a pair of integers.
        flip: False: never mirror the image.
        normalised: True: return normalised float32. False: return uint8 for the caller to normalise;
            the configuration must satisfy `ends_in_levels`.
    """
    levels = image
    if config.rand_operations or config.three_augment or config.color_jitter or not normalised:
        levels = tf.cast(image, tf.uint8)  # memory-bound, and uint8 is a quarter of float32
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
    height: tf.Tensor,
    width: tf.Tensor,
    seed: tf.Tensor,
    config: AugmentConfig,
    size: tuple[int, int],
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Draw a crop from the seed: top, left, height and width in pixels, as in `box_of`."""
    return box_of(tf.random.stateless_uniform((5,), seed), height, width, config, size)


def box_of(
    draws: tf.Tensor,
    height: tf.Tensor,
    width: tf.Tensor,
    config: AugmentConfig,
    size: tuple[int, int],
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return top, left, height and width in pixels of Inception's random resized crop.

    A box that does not fit is clipped, not drawn again. The edges of a box need not be whole pixels.
    With a `crop_scale` above 1 no box is clipped, and pixels outside the image are black.

    Args:
        draws: at least four uniform numbers from 0 to 1: area, aspect ratio, top and left.
        size: height and width of the model's input. `config.crop_ratio` is relative to their ratio:
            an input that is twice as wide as high has crops twice as wide.
    """
    area_draw, ratio_draw, top_draw, left_draw = tf.unstack(draws)[:4]
    h, w = tf.cast(height, tf.float32), tf.cast(width, tf.float32)
    low, high = config.crop_scale
    area = h * w * (low + (high - low) * area_draw)
    ratios = [ratio * (size[1] / size[0]) for ratio in config.crop_ratio]
    low, high = tf.unstack(tf.math.log(tf.constant(ratios)))
    ratio = tf.exp(low + (high - low) * ratio_draw)  # width / height
    box_h, box_w = tf.sqrt(area / ratio), tf.sqrt(area * ratio)
    if max(config.crop_scale) <= 1.0:
        box_h, box_w = tf.minimum(box_h, h), tf.minimum(box_w, w)
    box_h, box_w = tf.maximum(box_h, 1.0), tf.maximum(box_w, 1.0)
    return (h - box_h) * top_draw, (w - box_w) * left_draw, box_h, box_w
