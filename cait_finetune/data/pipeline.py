"""Batches: an endless shuffled stream to train on, one ordered pass to evaluate on."""

from __future__ import annotations

import itertools

import tensorflow as tf

from cait_finetune.config import AugmentConfig, DatasetConfig
from cait_finetune.data.augment import augment
from cait_finetune.data.corrupt import CorruptImages
from cait_finetune.data.preprocess import Preprocessing
from cait_finetune.data.source import Source
from cait_finetune.errors import bad_value


def train_batches(
    source: Source,
    config: DatasetConfig,
    augmentation: AugmentConfig,
    preprocessing: Preprocessing,
    batch_size: int,
    seed: int,
    corrupt: CorruptImages,
) -> tf.data.Dataset:
    """An endless stream of ``(images (B, S, S, 3), labels (B,))``, every batch full.

    Each pass over the images has its own order; the draws of an augmentation depend on the seed and
    the position in the stream alone, so the same seed gives the same stream.
    """

    def prepare(position: tf.Tensor, example: dict) -> tuple[tf.Tensor, tf.Tensor]:
        draw = tf.stack([tf.constant(seed, tf.int64), position])
        flip = config.allow_flip
        return augment(example["image"], draw, augmentation, preprocessing, flip), example["label"]

    size = source.sizes["train"]
    buffer = min(config.shuffle_buffer, size)
    examples = source.examples("train")
    if config.cache:
        examples = corrupt.decode(examples, size).cache().shuffle(buffer, seed=seed).repeat()
    else:  # shuffled as files, which are smaller
        examples = corrupt.decode(examples.shuffle(buffer, seed=seed).repeat(), size)
    options = tf.data.Options()
    # Every core decodes, as autotuning would have it too; but the tuner's thread can hold up the
    # end of a stream for half a minute.
    options.autotune.enabled = False
    return (
        examples.enumerate()
        .map(prepare, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
        .batch(batch_size, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
        .with_options(options)
    )


def evaluation_batches(
    source: Source,
    role: str,
    preprocessing: Preprocessing,
    batch_size: int,
    corrupt: CorruptImages,
    cache: bool = False,
) -> tf.data.Dataset:
    """One pass in file order: ``(images (B, S, S, 3), labels (B,), real (B,) bool)``.

    With `cache` the batches of the first pass are kept in memory for those that follow.

    The last batch is filled up with blank images for which `real` is false: one shape, one trace,
    and every image counted once.
    """

    def fill(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        missing = batch_size - tf.shape(images)[0]
        real = tf.sequence_mask(tf.shape(images)[0], batch_size)
        images = tf.pad(images, [[0, missing], [0, 0], [0, 0], [0, 0]])
        labels = tf.pad(labels, [[0, missing]])
        size = preprocessing.image_size
        return tf.ensure_shape(images, (batch_size, size, size, 3)), labels, real

    batches = (
        corrupt.decode(source.examples(role), source.sizes[role])
        .map(
            lambda example: (preprocessing(example["image"]), example["label"]),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        .batch(batch_size)
        .map(fill)
    )
    return (batches.cache() if cache else batches).prefetch(tf.data.AUTOTUNE)


def encoded_images(
    source: Source, role: str, count: int, corrupt: CorruptImages
) -> list[tuple[str, bytes]]:
    """Id and file bytes of the first `count` examples of a split that are not known to be corrupt.

    Raises:
        UserError: there is none.
    """
    examples = source.examples(role).as_numpy_iterator()
    named = ((example["id"].decode(), example["image"]) for example in examples)
    chosen = list(itertools.islice((one for one in named if one[0] not in corrupt.ids), count))
    if not chosen:
        raise bad_value(f"dataset.splits.{role}", "corrupt images only", "one that can be decoded")
    return chosen
