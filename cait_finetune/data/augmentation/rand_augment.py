"""RandAugment as timm's ``rand-m9-mstd0.5-inc1``, as a pure function of a seed.

RandAugment: Cubuk et al. 2020, https://arxiv.org/abs/1909.13719. The operations and their magnitudes
are ``_RAND_INCREASING_TRANSFORMS`` of timm's ``auto_augment.py``, with two differences: translations
are by whole pixels, and the interpolation is always linear.

keras-cv's RandAugment (0.9.0) is not reproducible. With the same seed, two passes of a parallel map
give different images, and so do two new layers. A resumed run would see other images than an
uninterrupted run. keras-cv's RandAugment and Keras' own are also slower. keras-cv's deterministic
operations (Equalization, AutoContrast, Solarization, Posterization) are reproducible, but slower, too.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from cait_finetune.data.augmentation import colour, geometry

#: The highest magnitude. The level of an operation is its magnitude divided by this number.
HIGHEST = 10.0


def rand_augment(
    image: tf.Tensor,
    seed: tf.Tensor,
    operations: int,
    magnitude: float,
    magnitude_std: float,
    probability: float,
) -> tf.Tensor:
    """Apply operations that are drawn from `OPERATIONS` to an image.

    Args:
        image: ``(H, W, 3)`` uint8.
        seed: ``(2,)`` integers.
        operations: number of operations to draw.
        magnitude: mean of the magnitude, from 0 to `HIGHEST`.
        magnitude_std: standard deviation of the magnitude.
        probability: probability with which a drawn operation is applied.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    which, made, signs = tf.unstack(tf.random.stateless_uniform((operations, 3), seed), axis=1)
    spread = magnitude_std * tf.random.stateless_normal((operations,), fold_in(seed, 1))
    levels = tf.clip_by_value(magnitude + spread, 0.0, HIGHEST) / HIGHEST  # (operations,)
    indices = tf.minimum(tf.cast(which * len(OPERATIONS), tf.int32), len(OPERATIONS) - 1)
    signs = tf.where(signs < 0.5, -1.0, 1.0)
    todo = tf.where(made < probability)[:, 0]  # the loop skips all others, to save time

    def step(number: tf.Tensor, image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        one = todo[number]
        return number + 1, distorted(image, indices[one], levels[one], signs[one])

    _, image = tf.while_loop(lambda number, _: number < tf.size(todo), step, (0, image))
    return image


def fold_in(seed: tf.Tensor, number: int) -> tf.Tensor:
    """Derive a seed from `seed` and `number`. Draws with different numbers are independent."""
    return tf.random.experimental.stateless_fold_in(seed, number)


def distorted(image: tf.Tensor, index: tf.Tensor, level: tf.Tensor, sign: tf.Tensor) -> tf.Tensor:
    """Apply the operation number `index` of `OPERATIONS` to an image.

    Args:
        image: ``(H, W, 3)`` uint8.
        index: () int32.
        level: () float32, from 0 to 1.
        sign: () float32, -1 or 1.

    Returns:
        ``(H, W, 3)`` uint8.
    """

    def branch(operation: Callable) -> Callable[[], tf.Tensor]:
        return lambda: tf.ensure_shape(operation(image, level, sign), image.shape)

    return tf.switch_case(index, [branch(operation) for operation in OPERATIONS.values()])


def _enhanced(operation: Callable) -> Callable:
    """Call `operation` with a factor from 1 (no change) at level 0 to 0.1 or 1.9 at level 1."""
    return lambda image, level, sign: operation(image, 1.0 + 0.9 * level * sign)


def _whole(level: tf.Tensor, highest: int) -> tf.Tensor:
    return tf.cast(level * highest, tf.int32)


def _moved(operation: Callable, axis: int) -> Callable:
    """Call `operation` with a number of pixels: up to 45 % of the side along `axis`."""

    def move(image: tf.Tensor, level: tf.Tensor, sign: tf.Tensor) -> tf.Tensor:
        pixels = tf.round(0.45 * image.shape[axis] * level * sign)
        return operation(image, tf.cast(pixels, tf.int32))

    return move


#: Functions of (image, level from 0 to 1, sign). Some ignore the level or the sign.
OPERATIONS: dict[str, Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "autocontrast": lambda image, level, sign: colour.autocontrast(image),
    "equalize": lambda image, level, sign: colour.equalize(image),
    "invert": lambda image, level, sign: colour.invert(image),
    "rotate": lambda image, level, sign: geometry.rotate(image, 30.0 * level * sign),
    "posterize": lambda image, level, sign: colour.posterize(image, 4 - _whole(level, 4)),
    "solarize": lambda image, level, sign: colour.solarize(image, 256 - _whole(level, 256)),
    "solarize_add": lambda image, level, sign: colour.solarize_add(image, _whole(level, 110)),
    "saturation": _enhanced(colour.saturation),
    "contrast": _enhanced(colour.contrast),
    "brightness": _enhanced(colour.brightness),
    "sharpness": _enhanced(colour.sharpness),
    "shear_x": lambda image, level, sign: geometry.shear_x(image, 0.3 * level * sign),
    "shear_y": lambda image, level, sign: geometry.shear_y(image, 0.3 * level * sign),
    "translate_x": _moved(geometry.translate_x, axis=1),
    "translate_y": _moved(geometry.translate_y, axis=0),
}
