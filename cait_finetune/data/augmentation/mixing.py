"""Mixup and CutMix on pairs of neighbours in the stream, as a pure function of a seed.

Mixup: Zhang et al. 2018, https://arxiv.org/abs/1710.09412. CutMix: Yun et al. 2019,
https://arxiv.org/abs/1905.04899. Which of the two a pair gets is drawn as in DeiT.

The stream is shuffled, so a neighbour is a partner by chance, as good as one from the far end of the
batch. And a pair never leaves the slice of the batch that a device gets: any number of devices sees
the same mixed images.

keras-cv's MixUp and CutMix (0.9.0) draw from a generator of their own: with the same seed two passes
of a parallel map give other mixtures, and a resumed run does. They know of no switching either.
"""

from __future__ import annotations

import tensorflow as tf

from cait_finetune.config import AugmentConfig


def mixes(config: AugmentConfig) -> bool:
    """Whether there is anything to mix."""
    return config.mix_probability > 0 and (config.mixup > 0 or config.cutmix > 0)


def mix_pairs(
    examples: tf.data.Dataset, config: AugmentConfig, num_classes: int, seed: int
) -> tf.data.Dataset:
    """Mix each two examples ``(image, label, position)`` with each other.

    The labels become shares of the classes, ``(C,)`` float32, if they are not yet: of several labels
    they become what of each is in the image. The draws depend on the seed and the
    first position of the pair.
    """

    def mix(images: tf.Tensor, labels: tf.Tensor, positions: tf.Tensor) -> tuple[tf.Tensor, ...]:
        size, channels = images.shape[2:]
        share, own = draw_mask(size, positions[0], config, seed, channels)  # (), (S, S, 3)
        # Not [::-1], which takes twenty times as long.
        others = tf.gather(images, [1, 0])
        images = images * own + others * (1.0 - own)  # (2, S, S, 3)
        targets = tf.one_hot(labels, num_classes) if labels.shape.rank == 1 else labels  # (2, C)
        return images, targets * share + targets[::-1] * (1.0 - share), positions

    return (
        examples.batch(2, drop_remainder=True)
        .map(mix, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .unbatch()
    )


def draw_mask(
    size: int, position: tf.Tensor, config: AugmentConfig, seed: int, channels: int = 1
) -> tuple[tf.Tensor, tf.Tensor]:
    """How much of an image stays its own: as one number, and for each pixel, ``(S, S, C)``.

    It is the same in all channels, and given for each as TensorFlow is slow at broadcasting to three.
    Mixup gives every pixel the same share; CutMix gives 0 inside a box and 1 outside. The box is cut
    off at the edges, and the share is counted from what is left of it.
    """
    # Another stream of draws than the augmentation's, whose seed is (seed, position).
    draw = tf.stack([tf.constant(-1 - seed, tf.int64), position])
    chances = tf.random.stateless_uniform((4,), draw)
    if config.mixup and config.cutmix:
        cut = chances[1] < config.mix_switch_probability
    else:
        cut = tf.constant(config.cutmix > 0)
    alpha = tf.where(cut, float(config.cutmix or 1.0), float(config.mixup or 1.0))
    share = _beta(alpha, draw)
    share = tf.where(chances[0] < config.mix_probability, share, 1.0)

    def cutmix() -> tuple[tf.Tensor, tf.Tensor]:
        inside = _inside_box(size, share, chances[2:])  # (S, 2)
        rows, columns = inside[:, 0], tf.repeat(inside[:, 1], channels)
        outside = 1.0 - rows[:, None] * columns  # (S, S * C)
        return tf.reduce_mean(outside), outside

    share, own = tf.cond(cut, cutmix, lambda: (share, tf.fill((size, size * channels), share)))
    return share, tf.reshape(own, (size, size, channels))


def _beta(alpha: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
    """A draw from Beta(alpha, alpha): X / (X + Y) of two gamma variables."""
    x, y = tf.unstack(tf.random.stateless_gamma((2,), draw, alpha, dtype=tf.float32))
    # A small alpha can give 0 and 0.
    return tf.math.divide_no_nan(x, x + y)


def _inside_box(size: int, share: tf.Tensor, centre: tf.Tensor) -> tf.Tensor:
    """1 inside a box of ``1 - share`` of the area about a point in [0, 1)²: its rows, its columns."""
    side = tf.floor(size * tf.sqrt(1.0 - share))
    middle = tf.floor(centre * size)  # (2,)
    low = middle - tf.floor(side / 2)
    pixels = tf.range(size, dtype=tf.float32)[:, None]  # (S, 1)
    return tf.cast((pixels >= low) & (pixels < low + side), tf.float32)  # (S, 2)
