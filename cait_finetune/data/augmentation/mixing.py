"""Mixup and CutMix on pairs of neighbours in the stream, as a pure function of a seed.

Mixup: Zhang et al. 2018, https://arxiv.org/abs/1710.09412. CutMix: Yun et al. 2019,
https://arxiv.org/abs/1905.04899. As in DeiT, a draw chooses between the two for each pair.

The stream is shuffled, so a neighbour is a random partner. Both images of a pair stay on the same
device, so the mixed images do not depend on the number of devices.

keras-cv's MixUp and CutMix (0.9.0) draw from their own random generator: with the same seed, two
passes of a parallel map give other mixtures, and so does a resumed run. They also cannot switch
between Mixup and CutMix.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf

from cait_finetune.config import AugmentConfig


def mixes(config: AugmentConfig) -> bool:
    """Whether the configuration enables Mixup or CutMix."""
    return config.mix_probability > 0 and (config.mixup > 0 or config.cutmix > 0)


def mix_pairs(
    examples: tf.data.Dataset, config: AugmentConfig, num_classes: int, seed: int
) -> tf.data.Dataset:
    """Mix the images and labels of every two successive examples ``(image, label, position)``.

    Integer labels become one-hot before they are mixed. The draws depend on the seed and on the
    position of the first example of the pair. A last example without a partner is dropped.

    Args:
        examples: images ``(H, W, 3)`` float32; labels () int32, or ``(C,)`` float32; positions
            () int64.

    Returns:
        Examples of the same shapes, but with labels ``(C,)`` float32.
    """

    def mix(images: tf.Tensor, labels: tf.Tensor, positions: tf.Tensor) -> tuple[tf.Tensor, ...]:
        *size, channels = images.shape[1:]
        share, own = draw_mask(size, positions[0], config, seed, channels)  # (), (H, W, 3)
        # The gather is much faster than [::-1].
        others = tf.gather(images, [1, 0])
        images = images * own + others * (1.0 - own)  # (2, H, W, 3)
        targets = tf.one_hot(labels, num_classes) if labels.shape.rank == 1 else labels  # (2, C)
        return images, targets * share + targets[::-1] * (1.0 - share), positions

    return (
        examples.batch(2, drop_remainder=True)
        .map(mix, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .unbatch()
    )


def draw_mask(
    size: Sequence[int],
    position: tf.Tensor,
    config: AugmentConfig,
    seed: int,
    channels: int = 1,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Draw the share that an image keeps, and the weight that each of its pixels keeps.

    With Mixup all pixels have the same weight. With CutMix the weight is 0 inside a box and 1 outside.
    The edges of the image clip the box, and the share is the mean weight after clipping. All weights
    are 1 if the draw decides, by `mix_probability`, not to mix.

    Args:
        size: H and W.
        position: () int64, the position of the first example of the pair.
        channels: C. All channels have the same weights: TensorFlow is slow at broadcasting to three.

    Returns:
        The share, () float32, and the weights, ``(H, W, C)`` float32.
    """
    # The augmentation draws with the seed (seed, position). Mixing needs an independent seed.
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
        rows, columns = _inside_box(size, share, chances[2:])  # (H,), (W,)
        outside = 1.0 - rows[:, None] * tf.repeat(columns, channels)  # (H, W * C)
        return tf.reduce_mean(outside), outside

    height, width = size
    share, own = tf.cond(cut, cutmix, lambda: (share, tf.fill((height, width * channels), share)))
    return share, tf.reshape(own, (height, width, channels))


def _beta(alpha: tf.Tensor, draw: tf.Tensor) -> tf.Tensor:
    """Draw from Beta(alpha, alpha), as X / (X + Y) of two gamma variables."""
    x, y = tf.unstack(tf.random.stateless_gamma((2,), draw, alpha, dtype=tf.float32))
    # With a small alpha both X and Y can be 0.
    return tf.math.divide_no_nan(x, x + y)


def _inside_box(
    size: Sequence[int], share: tf.Tensor, centre: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return 1 for the rows and the columns of a box, 0 for others: ``(H,)`` and ``(W,)`` float32.

    Before clipping, the box has ``1 - share`` of the area and the aspect ratio of `size`. `centre` is
    in [0, 1)².
    """
    lengths = tf.constant(size, tf.float32)
    sides = tf.floor(lengths * tf.sqrt(1.0 - share))  # (2,)
    lows = tf.floor(centre * lengths) - tf.floor(sides / 2)

    def inside(axis: int) -> tf.Tensor:
        pixels = tf.range(size[axis], dtype=tf.float32)
        low = lows[axis]
        return tf.cast((pixels >= low) & (pixels < low + sides[axis]), tf.float32)

    return inside(0), inside(1)
