"""Batches: an endless shuffled stream to train on, one ordered pass to evaluate on."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import tensorflow as tf

from cait_finetune.config import AugmentConfig, DatasetConfig
from cait_finetune.data.augmentation.augment import (
    augment,
    crops,
    distort,
    ends_in_levels,
    random_box,
)
from cait_finetune.data.augmentation.mixing import mix_pairs, mixes
from cait_finetune.data.corrupt import CorruptImages, Guarded
from cait_finetune.data.decode import decode_part
from cait_finetune.data.preprocess import Preprocessing
from cait_finetune.data.sequence import (
    WHOLE,
    Shard,
    batched,
    divided,
    equal_shares,
    ready,
    repeated,
    shuffled,
)
from cait_finetune.data.source import Source
from cait_finetune.errors import bad_value


@tf.autograph.experimental.do_not_convert
def train_batches(
    source: Source,
    config: DatasetConfig,
    augmentation: AugmentConfig,
    preprocessing: Preprocessing,
    batch_size: int,
    seed: int,
    corrupt: CorruptImages,
    start: int = 0,
    shard: Shard = WHOLE,
    overfit: bool = False,
    stack: int = 1,
    decoded: tf.data.Dataset | None = None,
    careful: bool = True,
) -> tf.data.Dataset:
    """An endless stream of ``(images (b, S, S, 3), labels, next position)``, every batch full.

    The draws of an augmentation depend on the seed and the example's position in the sequence
    (`data.sequence`) alone. Labels are ``(b,)`` int32; with mixing, weights or several labels
    ``(b, C)`` float32: shares of the classes that add up to an example's weight, or zeros and ones.
    ``next position`` is the `start` from which the stream goes on after this batch.

    Args:
        batch_size: of the global batch; ``b`` is its part for one replica.
        overfit: the first global batch again and again, with the same draws.
        stack: above 1, an element is as many batches as that of one replica, an axis in front.
        decoded: the examples with pixels for bytes, where they are kept so (`data.image_cache`).
        careful: leave corrupt images out; else the stream ends with an error at one.
    """
    size, classes = source.sizes["train"], len(source.class_names)
    light = source.light_records and decoded is None
    buffer = size if light else min(config.shuffle_buffer, size)
    # Of a batch at once, where nothing needs normalised images before.
    late = ends_in_levels(augmentation) and not mixes(augmentation)
    items = source.records("train") if decoded is None else decoded
    copies = None
    if config.sampling == "balanced":
        of_label = equal_shares(source.class_counts("train"))
        copies = lambda example: of_label(example["label"])  # noqa: E731

    def prepare(example: dict) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        if decoded is None:
            example = source.read(example)  # here, as a file may be gone
        draw = tf.stack([tf.constant(seed, tf.int64), example["position"]])
        make = _from_pixels if decoded is not None else _from_bytes
        image = make(
            example["image"], draw, augmentation, preprocessing, config.allow_flip, not late
        )
        label = example["label"]
        if source.weighted:
            label = tf.one_hot(label, classes) * example["weight"]  # (C,)
        return image, label, example["position"]

    def sequence(position: int) -> tf.data.Dataset:
        return shuffled(items, size, buffer, seed, position, copies)

    examples = repeated(sequence, augmentation.repeats, 0 if overfit else start)
    if overfit:
        examples = examples.take(batch_size).repeat()
    # Divided before the costly part, which is decoding.
    examples = divided(examples, batch_size, shard).map(
        lambda position, example: {**example, "position": position}
    )
    if careful and decoded is None:
        label = tf.zeros((classes,)) if source.multi_label or source.weighted else tf.constant(0)
        blank = tf.cast(_blank(preprocessing), tf.uint8 if late else tf.float32)
        stand_in = (blank, label, tf.constant(0, tf.int64))
        prepared = corrupt.attempt(examples, size, prepare, stand_in, config.parallel_calls)
    else:
        prepared = _mapped(examples, prepare, config.parallel_calls)
    if mixes(augmentation):
        prepared = mix_pairs(prepared, augmentation, classes, seed)
    finish = preprocessing.normalise_levels if late else None
    return batched(prepared, batch_size, shard, stack, config.prefetch, finish)


@tf.autograph.experimental.do_not_convert
def evaluation_batches(
    source: Source,
    split: str,
    preprocessing: Preprocessing,
    batch_size: int,
    corrupt: CorruptImages,
    cache: bool = False,
    shard: Shard = WHOLE,
    done: int = 0,
    careful: bool = True,
    config: DatasetConfig | None = None,
) -> tf.data.Dataset:
    """One pass in file order: ``(images (B, S, S, 3), labels, real (B,) bool)``.

    Labels are ``(B,)`` int32, or with several labels ``(B, C)`` float32. With `cache` the batches of
    the first pass are kept in memory for those that follow.

    The last batch is filled up with blank images for which `real` is false: one shape, one trace,
    and every image counted once. Where a pipeline makes only a `shard` of the images, all of them
    make the same number of batches, some of nothing but blanks: devices that add up their metrics
    after each batch would else wait for each other.

    Args:
        batch_size: of the batches of one replica.
        done: how many of this pipeline's batches to leave out, none of which has a corrupt image.
        careful: leave corrupt images out; else the pass ends with an error at one.
        config: how the images are read; None is as by default.
    """
    pipelines = shard.count * shard.replicas
    size = source.sizes[split]
    steps = -(-size // (batch_size * pipelines)) * shard.replicas - done
    several = (len(source.class_names),) if source.multi_label else ()
    label_type = tf.float32 if several else tf.int32
    calls, prefetch = (config.parallel_calls, config.prefetch) if config else (None, None)

    def prepare(example: dict) -> tuple[tf.Tensor, tf.Tensor]:
        example = source.read(example)
        return preprocessing(preprocessing.decode(example["image"])), example["label"]

    def fill(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        missing = batch_size - tf.shape(images)[0]
        real = tf.sequence_mask(tf.shape(images)[0], batch_size)
        images, labels = (
            tf.pad(one, [[0, missing]] + [[0, 0]] * (one.shape.rank - 1))
            for one in (images, labels)
        )
        return tf.ensure_shape(images, shape), tf.ensure_shape(labels, (batch_size, *several)), real

    def blank(_: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        real = tf.zeros((batch_size,), tf.bool)
        return tf.zeros(shape), tf.zeros((batch_size, *several), label_type), real

    shape = (batch_size, preprocessing.image_size, preprocessing.image_size, 3)
    examples = source.records(split).shard(shard.count, shard.index).skip(done * batch_size)
    if careful:
        stand_in = (_blank(preprocessing), tf.zeros(several, label_type))
        prepared = corrupt.attempt(examples, size, prepare, stand_in, calls)
    else:
        prepared = _mapped(examples, prepare, calls)
    batches = prepared.batch(batch_size).map(fill)
    if pipelines > 1:
        blanks = tf.data.Dataset.range(steps).map(blank)
        batches = batches.concatenate(blanks).take(steps)
    return ready(batches.cache() if cache else batches, prefetch)


def evaluation_stream(
    source: Source,
    split: str,
    preprocessing: Preprocessing,
    batch_size: int,
    corrupt: CorruptImages,
    config: DatasetConfig | None = None,
) -> Guarded:
    """`evaluation_batches` on one device, guarded against corrupt images."""

    def build(careful: bool, done: int) -> tf.data.Dataset:
        return evaluation_batches(
            source, split, preprocessing, batch_size, corrupt, done=done, careful=careful,
            config=config,
        )  # fmt: skip

    return Guarded(corrupt, build)


def encoded_images(
    source: Source, split: str, count: int, corrupt: CorruptImages
) -> list[tuple[str, bytes]]:
    """Id and file bytes of the first `count` examples of a split that are not known to be corrupt.

    Raises:
        UserError: there is none.
    """
    examples = source.examples(split).as_numpy_iterator()
    named = ((example["id"].decode(), example["image"]) for example in examples)
    chosen = list(itertools.islice((one for one in named if one[0] not in corrupt.ids), count))
    if not chosen:
        raise bad_value(f"dataset.splits.{split}", "corrupt images only", "one that can be decoded")
    return chosen


@tf.autograph.experimental.do_not_convert
def example_ids(source: Source, split: str, count: int | None, corrupt: CorruptImages) -> list[str]:
    """The ids of the first `count` examples of a split that are not known to be corrupt, in order.

    Args:
        count: `None`: all.
    """
    records = source.records(split).map(lambda record: record["id"]).as_numpy_iterator()
    named = (one.decode() for one in records)
    left_out = set(corrupt.ids)
    return list(itertools.islice((one for one in named if one not in left_out), count))


@tf.autograph.experimental.do_not_convert
def find_images(source: Source, split: str, ids: Sequence[str]) -> list[bytes]:
    """The files of the examples of a split with these ids, in the order of `ids`.

    Raises:
        UserError: one is not there any more.
    """
    wanted = tf.constant(list(ids), tf.string)
    chosen = source.records(split).filter(lambda record: tf.reduce_any(record["id"] == wanted))
    try:
        found = {
            example["id"].decode(): example["image"]
            for example in chosen.map(source.read).as_numpy_iterator()
        }
        return [found[one] for one in ids]
    except (tf.errors.OpError, KeyError) as error:
        why = getattr(error, "message", f"no {error}").splitlines()[0]
        raise bad_value(
            f"dataset.splits.{split}", f"other images than were scored ({why})", "the same"
        ) from error


def labelled_images(
    source: Source, split: str, count: int | None, corrupt: CorruptImages
) -> Iterator[tuple[bytes, Any]]:
    """File bytes and label of those examples of a split that are not known to be corrupt.

    Args:
        count: the first so many; None is all.
    """
    for example in source.examples(split).take(-1 if count is None else count).as_numpy_iterator():
        if example["id"].decode() not in corrupt.ids:
            yield example["image"], example["label"]


def _from_pixels(
    image: tf.Tensor,
    draw: tf.Tensor,
    augmentation: AugmentConfig,
    preprocessing: Preprocessing,
    flip: bool,
    normalised: bool,
) -> tf.Tensor:
    return augment(image, draw, augmentation, preprocessing, flip, normalised)


def _from_bytes(
    data: tf.Tensor,
    draw: tf.Tensor,
    augmentation: AugmentConfig,
    preprocessing: Preprocessing,
    flip: bool,
    normalised: bool,
) -> tf.Tensor:
    """The same picture as from the pixels, of which only those are decoded that are needed."""
    if not crops(augmentation):
        image = preprocessing.decode(data)
        return _from_pixels(image, draw, augmentation, preprocessing, flip, normalised)
    shape = (preprocessing.image_size, preprocessing.image_size)
    image, box = decode_part(
        data,
        lambda height, width, draw: random_box(height, width, draw, augmentation),
        shape,
        preprocessing.upright,
        given=[draw],
    )
    image = preprocessing.crop_and_resize(image, box, shape)
    return distort(image, draw, augmentation, preprocessing, flip, normalised)


def _mapped(examples: tf.data.Dataset, function: Callable, calls: int | None) -> tf.data.Dataset:
    return examples.map(function, num_parallel_calls=calls or tf.data.AUTOTUNE, deterministic=True)


def _blank(preprocessing: Preprocessing) -> tf.Tensor:
    return tf.zeros((preprocessing.image_size, preprocessing.image_size, 3))
