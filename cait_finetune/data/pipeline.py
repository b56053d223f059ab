"""Batches: an endless shuffled stream for training, and one ordered pass for evaluation."""

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
from cait_finetune.data.corrupt import CorruptImages, Guarded, explained
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
    """Return an endless stream of ``(images (b, H, W, C), labels, next position)``.

    Every batch is full. An augmentation's random numbers depend only on the seed and the example's
    position in the sequence (`data.sequence`). Images are float32. Labels are ``(b,)`` int32. With
    mixing, weights or several labels they are ``(b, C)`` float32: shares of the classes that add up
    to the example's weight, or zeros and ones. Numbers are ``(b, T)`` float32; with weights they are
    ``(b, T + 1)``, and the last column is the weight. ``next position`` is the `start` that resumes the
    stream after this batch.

    Args:
        batch_size: size of the global batch. ``b`` is the part of one replica.
        seed: seed of the order and of the augmentation.
        corrupt: the corrupt images of the run. Images that are left out here are added.
        start: position of the first example.
        shard: the part of each global batch that this pipeline makes.
        overfit: repeat the first global batch, with the same random numbers.
        stack: above 1, an element stacks this number of batches of one replica along a new first
            axis.
        decoded: cached examples with decoded images (`data.image_cache`). `None`: decode the files.
        careful: leave corrupt images out. False: the stream ends with an error at a corrupt image.
    """
    size, classes = source.sizes["train"], len(source.class_names)
    light = source.light_records and decoded is None
    buffer = size if light else min(config.shuffle_buffer, size)
    # Normalise a whole batch at once, unless an earlier step needs normalised images.
    late = ends_in_levels(augmentation) and not mixes(augmentation) and not preprocessing.bands
    items = source.records("train") if decoded is None else decoded
    copies = None
    if config.sampling == "balanced":
        of_label = equal_shares(source.class_counts("train"))
        copies = lambda example: of_label(example["label"])  # noqa: E731

    def prepare(example: dict) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        if decoded is None:
            example = source.read(example)  # here, so that a missing file counts as a corrupt image
        draw = tf.stack([tf.constant(seed, tf.int64), example["position"]])
        make = _from_pixels if decoded is not None else _from_bytes
        image = make(
            example["image"], draw, augmentation, preprocessing, config.allow_flip, not late
        )
        label = example["label"]
        if source.weighted:
            label = source.target.weighted(label, example["weight"], classes)
        return image, label, example["position"]

    def sequence(position: int) -> tf.data.Dataset:
        return shuffled(items, size, buffer, seed, position, copies)

    examples = repeated(sequence, augmentation.repeats, 0 if overfit else start)
    if overfit:
        examples = examples.take(batch_size).repeat()
    # Divide the examples before they are decoded, because decoding is slow.
    examples = divided(examples, batch_size, shard).map(
        lambda position, example: {**example, "position": position}
    )
    if careful and decoded is None:
        label = source.target.blank(classes)
        if source.weighted:
            label = tf.zeros_like(source.target.weighted(label, tf.constant(0.0), classes))
        blank = tf.cast(_blank(preprocessing), tf.uint8 if late else tf.float32)
        stand_in = (blank, label, tf.constant(0, tf.int64))
        prepared = corrupt.attempt(
            examples,
            size,
            prepare,
            stand_in,
            config.parallel_calls,
            explained(source, preprocessing),
        )
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
    """Return one pass in file order: ``(images (B, H, W, C), labels, real (B,) bool)``.

    Images are float32. Labels are of the kind `source.target`.

    Blank images fill the last batch; `real` is false for blank images. All batches then have one
    shape, so TensorFlow traces one graph, and every image counts once. Several pipelines all make
    the same number of batches, some of only blank images. Devices that add up their metrics after
    each batch would otherwise wait for each other.

    Args:
        batch_size: images per batch of one replica.
        corrupt: the corrupt images of the run. Images that are left out here are added.
        cache: keep the batches of the first pass in memory for later passes.
        shard: the part of the images that this pipeline makes.
        done: number of this pipeline's batches to skip. They must not contain a corrupt image.
        careful: leave corrupt images out. False: the pass ends with an error at a corrupt image.
        config: options of reading. `None`: the defaults.
    """
    pipelines = shard.count * shard.replicas
    size = source.sizes[split]
    steps = -(-size // (batch_size * pipelines)) * shard.replicas - done
    label_shape = source.target.shape(len(source.class_names))
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
        return (
            tf.ensure_shape(images, shape),
            tf.ensure_shape(labels, (batch_size, *label_shape)),
            real,
        )

    def blank(_: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        real = tf.zeros((batch_size,), tf.bool)
        labels = tf.zeros((batch_size, *label_shape), source.target.dtype)
        return tf.zeros(shape), labels, real

    shape = (batch_size, *preprocessing.image_size, preprocessing.channels)
    examples = source.records(split).shard(shard.count, shard.index).skip(done * batch_size)
    if careful:
        stand_in = (_blank(preprocessing), source.target.blank(len(source.class_names)))
        prepared = corrupt.attempt(
            examples, size, prepare, stand_in, calls, explained(source, preprocessing)
        )
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
    """Return `evaluation_batches` for one device, guarded against corrupt images."""

    def build(careful: bool, done: int) -> tf.data.Dataset:
        return evaluation_batches(
            source, split, preprocessing, batch_size, corrupt, done=done, careful=careful,
            config=config,
        )  # fmt: skip

    return Guarded(corrupt, build)


def encoded_images(
    source: Source, split: str, count: int, corrupt: CorruptImages
) -> list[tuple[str, bytes]]:
    """Return id and bytes of a split's first `count` examples that are not known to be corrupt.

    Raises:
        UserError: all examples are known to be corrupt.
    """
    examples = source.examples(split).as_numpy_iterator()
    named = ((example["id"].decode(), example["image"]) for example in examples)
    chosen = list(itertools.islice((one for one in named if one[0] not in corrupt.ids), count))
    if not chosen:
        raise bad_value(f"dataset.splits.{split}", "corrupt images only", "one that can be decoded")
    return chosen


@tf.autograph.experimental.do_not_convert
def example_ids(source: Source, split: str, count: int | None, corrupt: CorruptImages) -> list[str]:
    """Return the ids of a split's first `count` examples that are not known to be corrupt.

    Args:
        count: `None`: all.
    """
    records = source.records(split).map(lambda record: record["id"]).as_numpy_iterator()
    named = (one.decode() for one in records)
    left_out = set(corrupt.ids)
    return list(itertools.islice((one for one in named if one not in left_out), count))


@tf.autograph.experimental.do_not_convert
def find_images(source: Source, split: str, ids: Sequence[str]) -> list[bytes]:
    """Return the file bytes of the examples of a split with these ids, in the order of `ids`.

    Raises:
        UserError: an id or its file no longer exists, or a file cannot be read.
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
    """Yield file bytes and label of the examples of a split that are not known to be corrupt.

    Args:
        count: number of examples to read, corrupt examples included. `None`: all.
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
    """Return the same image as `_from_pixels`, but decode only the pixels that a crop needs."""
    if not crops(augmentation) or preprocessing.bands:
        image = preprocessing.decode(data)
        return _from_pixels(image, draw, augmentation, preprocessing, flip, normalised)
    size = preprocessing.image_size
    image, box = decode_part(
        data,
        lambda height, width, draw: random_box(height, width, draw, augmentation, size),
        size,
        preprocessing.upright,
        given=[draw],
    )
    image = preprocessing.crop_and_resize(image, box, size)
    return distort(image, draw, augmentation, preprocessing, flip, normalised)


def _mapped(examples: tf.data.Dataset, function: Callable, calls: int | None) -> tf.data.Dataset:
    return examples.map(function, num_parallel_calls=calls or tf.data.AUTOTUNE, deterministic=True)


def _blank(preprocessing: Preprocessing) -> tf.Tensor:
    return tf.zeros((*preprocessing.image_size, preprocessing.channels))
