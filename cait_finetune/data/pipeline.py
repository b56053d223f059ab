"""Batches: an endless shuffled stream to train on, one ordered pass to evaluate on."""

from __future__ import annotations

import itertools

import tensorflow as tf

from cait_finetune.config import AugmentConfig, DatasetConfig
from cait_finetune.data.augment import augment
from cait_finetune.data.corrupt import CorruptImages
from cait_finetune.data.mixing import mix_pairs, mixes
from cait_finetune.data.preprocess import Preprocessing
from cait_finetune.data.sequence import WHOLE, Share, batched, divided, ready, shuffled
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
    start: int = 0,
    share: Share = WHOLE,
    overfit: bool = False,
    stack: int = 1,
) -> tf.data.Dataset:
    """An endless stream of ``(images (b, S, S, 3), labels, next position)``, every batch full.

    The draws of an augmentation depend on the seed and the example's position in the sequence
    (`data.sequence`) alone. Labels are ``(b,)`` int32, or with mixing ``(b, C)`` float32 shares.
    ``next position`` is the `start` from which the stream goes on after this batch.

    Args:
        batch_size: of the global batch; ``b`` is its part for one replica.
        overfit: the first global batch again and again, with the same draws.
        stack: above 1, an element is as many batches as that of one replica, an axis in front.
    """
    size = source.sizes["train"]
    buffer = min(config.shuffle_buffer, size)
    files = source.examples("train")
    images = corrupt.decode(files, size).cache() if config.cache == "memory" else files

    def prepare(example: dict) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        draw = tf.stack([tf.constant(seed, tf.int64), example["position"]])
        flip = config.allow_flip
        image = augment(example["image"], draw, augmentation, preprocessing, flip)
        return image, example["label"], example["position"]

    sequence = shuffled(images, size, buffer, seed, 0 if overfit else start)
    if overfit:
        sequence = sequence.take(batch_size).repeat()
    # Divided before the costly part, which is decoding.
    examples = divided(sequence, batch_size, share).map(
        lambda position, example: {**example, "position": position}
    )
    if config.cache != "memory":
        examples = corrupt.decode(examples, size)
    prepared = examples.map(prepare, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    if mixes(augmentation):
        prepared = mix_pairs(prepared, augmentation, len(source.class_names), seed)
    return batched(prepared, batch_size, share, stack)


def evaluation_batches(
    source: Source,
    role: str,
    preprocessing: Preprocessing,
    batch_size: int,
    corrupt: CorruptImages,
    cache: bool = False,
    share: Share = WHOLE,
) -> tf.data.Dataset:
    """One pass in file order: ``(images (B, S, S, 3), labels (B,), real (B,) bool)``.

    With `cache` the batches of the first pass are kept in memory for those that follow.

    The last batch is filled up with blank images for which `real` is false: one shape, one trace,
    and every image counted once. Where a pipeline makes only a `share` of the images, all of them
    make the same number of batches, some of nothing but blanks: devices that add up their figures
    after each batch would else wait for each other.

    Args:
        batch_size: of the batches of one replica.
    """
    pipelines = share.count * share.replicas
    size = source.sizes[role]
    steps = -(-size // (batch_size * pipelines)) * share.replicas

    def fill(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        missing = batch_size - tf.shape(images)[0]
        real = tf.sequence_mask(tf.shape(images)[0], batch_size)
        images = tf.pad(images, [[0, missing], [0, 0], [0, 0], [0, 0]])
        labels = tf.pad(labels, [[0, missing]])
        return tf.ensure_shape(images, shape), labels, real

    def blank(_: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        real = tf.zeros((batch_size,), tf.bool)
        return tf.zeros(shape), tf.zeros((batch_size,), tf.int32), real

    shape = (batch_size, preprocessing.image_size, preprocessing.image_size, 3)
    examples = source.examples(role).shard(share.count, share.index)
    batches = (
        corrupt.decode(examples, size)
        .map(
            lambda example: (preprocessing(example["image"]), example["label"]),
            num_parallel_calls=tf.data.AUTOTUNE,
            deterministic=True,
        )
        .batch(batch_size)
        .map(fill)
    )
    if pipelines > 1:
        blanks = tf.data.Dataset.range(steps).map(blank)
        batches = batches.concatenate(blanks).take(steps)
    return ready(batches.cache() if cache else batches)


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
