"""3-Augment of DeiT III (Touvron et al. 2022, https://arxiv.org/abs/2204.07118), and colour jitter.

Both are pure functions of a seed. keras-cv's RandomColorJitter and RandomGaussianBlur (0.9.0) are
not: the same seed gives other images on each pass and in each resumed run. keras-cv's jitter is also
slower.
"""

from __future__ import annotations

import tensorflow as tf

from cait_finetune.data.augmentation import colour
from cait_finetune.data.augmentation.blur import LARGEST, blur

_SMALLEST = 0.1  # pixels, the lowest standard deviation of the blur
_MIDDLE = 128  # solarizing inverts this grey level and all above


def three_augment(image: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Convert an image to grey, solarize it or blur it, with equal probability.

    Args:
        image: ``(H, W, 3)`` uint8.
        seed: ``(2,)`` integers.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    which, strength = tf.unstack(tf.random.stateless_uniform((2,), seed))
    radius = _SMALLEST + (LARGEST - _SMALLEST) * strength
    return tf.switch_case(
        tf.minimum(tf.cast(3.0 * which, tf.int32), 2),
        [
            lambda: colour.grayscale(image),
            lambda: colour.solarize(image, tf.constant(_MIDDLE)),
            lambda: blur(image, radius),
        ],
    )


def color_jitter(image: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
    """Change brightness, contrast and saturation in random order, as torchvision's ColorJitter does.

    Each factor is drawn from ``max(0, 1 - strength)`` to ``1 + strength``.

    Args:
        image: ``(H, W, 3)`` uint8.
        seed: ``(2,)`` integers.
        strength: 0 or more. 0 changes nothing.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    draws = tf.random.stateless_uniform((6,), seed)
    low, high = max(0.0, 1.0 - strength), 1.0 + strength
    factors = low + (high - low) * draws[:3]
    order = tf.argsort(draws[3:])  # (3,)
    operations = (colour.brightness, colour.contrast, colour.saturation)
    for turn in range(len(operations)):
        image = tf.switch_case(order[turn], _branches(operations, image, factors))
    return image


def _branches(operations: tuple, image: tf.Tensor, factors: tf.Tensor) -> list:
    def branch(number: int) -> object:
        return lambda: operations[number](image, factors[number])

    return [branch(number) for number in range(len(operations))]
