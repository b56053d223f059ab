"""Batches: an endless shuffled stream to train on, one ordered pass to evaluate on."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import tensorflow as tf

from cait_finetune.config import AugmentConfig, DatasetConfig
from cait_finetune.data.augment import augment
from cait_finetune.data.corrupt import CorruptImages
from cait_finetune.data.mixing import mix_pairs, mixes
from cait_finetune.data.preprocess import Preprocessing
from cait_finetune.data.source import Source
from cait_finetune.errors import bad_value


@dataclasses.dataclass(frozen=True)
class Share:
    """What one input pipeline makes of every global batch: slice `index` of `count` equal ones.

    A slice comes as `replicas` batches, one for each replica that the pipeline feeds.
    """

    index: int = 0
    count: int = 1
    replicas: int = 1


WHOLE = Share()


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

    It is one sequence of examples, the same for a seed however it is divided: example ``p`` is
    number ``p % n`` of pass ``p // n`` over the `n` images. Each pass has an order of its own, and
    the draws of an augmentation depend on the seed and ``p`` alone. So a stream can be entered
    anywhere (`start`), and the slices of several pipelines make up the batches of one.

    Labels are ``(b,)`` int32, or with mixing ``(b, C)`` float32 shares. ``next position`` is the
    `start` from which the stream goes on after this batch.

    Args:
        batch_size: of the global batch; ``b`` is its part for one replica.
        stack: above 1, an element is as many batches as that of one replica, an axis in front.
        overfit: the first global batch again and again, with the same draws.
    """
    size = source.sizes["train"]
    buffer = min(config.shuffle_buffer, size)
    files = source.examples("train")
    images = corrupt.decode(files, size).cache() if config.cache else files

    def one_pass(number: tf.Tensor) -> tf.data.Dataset:
        tf.random.set_seed(
            seed + 1
        )  # of this function's graph alone; 0 cannot be joined with a tensor
        order = images.shuffle(buffer, seed=number, reshuffle_each_iteration=False)
        first = number * size
        return order.enumerate().map(lambda index, example: {**example, "position": first + index})

    def ours(example: dict) -> tf.Tensor:
        return example["position"] % batch_size * share.count // batch_size == share.index

    def beyond(position: tf.Tensor) -> tf.Tensor:
        # Of a slice, the end of the whole batch: that is where all pipelines go on.
        return position + 1 if share.count == 1 else (position // batch_size + 1) * batch_size

    def prepare(example: dict) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        draw = tf.stack([tf.constant(seed, tf.int64), example["position"]])
        flip = config.allow_flip
        image = augment(example["image"], draw, augmentation, preprocessing, flip)
        return image, example["label"], example["position"]

    first, inside = divmod(0 if overfit else start, size)
    examples = tf.data.Dataset.range(first, np.iinfo(np.int64).max).flat_map(one_pass).skip(inside)
    if overfit:
        examples = examples.take(batch_size).repeat()
    if share.count > 1:  # before the costly part, which is decoding
        examples = examples.filter(ours)
    if not config.cache:
        examples = corrupt.decode(examples, size)
    prepared = examples.map(prepare, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)
    if mixes(augmentation):
        prepared = mix_pairs(prepared, augmentation, len(source.class_names), seed)
    options = tf.data.Options()
    # Every core decodes, as autotuning would have it too; but the tuner's thread can hold up the
    # end of a stream for half a minute.
    options.autotune.enabled = False
    batches = prepared.batch(batch_size // share.count // share.replicas, drop_remainder=True).map(
        lambda images, labels, positions: (images, labels, beyond(positions[-1]))
    )
    if stack > 1:
        batches = _stacked(batches, stack, share.replicas)
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)


def _stacked(batches: tf.data.Dataset, steps: int, replicas: int) -> tf.data.Dataset:
    """Elements for replica 0, 1, … in turn, each with its batches of some steps: ``(steps, b, …)``."""
    if replicas == 1:
        return batches.batch(steps, drop_remainder=True)
    by_step = batches.batch(replicas).batch(steps, drop_remainder=True)  # (steps, replicas, b, ..)

    def turn(part: tf.Tensor) -> tf.Tensor:
        return tf.transpose(part, [1, 0, *range(2, len(part.shape))])

    return by_step.map(lambda *parts: tuple(turn(part) for part in parts)).unbatch()


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
