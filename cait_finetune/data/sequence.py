"""Order the training examples as an endless sequence that can start anywhere and be divided.

Example ``p`` is number ``p % n`` of pass ``p // n`` over the `n` examples. The order of a pass
depends only on the seed and the number of the pass. Batch ``k`` of size ``B`` has the examples
``k * B`` to ``(k + 1) * B - 1``, whichever processes make the batch. A run therefore resumes where
it stopped, and has the same batches on any number of devices.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Shard:
    """The part of every global batch that one input pipeline makes: slice `index` of `count`.

    The slices have equal sizes. The pipeline makes its slice as `replicas` batches, one for each
    replica that it feeds.
    """

    index: int = 0
    count: int = 1
    replicas: int = 1


WHOLE = Shard()

_SPARE_THREADS = 4

#: Number of items that take turns when `repeated` repeats each item.
TURNS = 5


def shuffled(
    items: tf.data.Dataset,
    size: int,
    buffer: int,
    seed: int,
    start: int = 0,
    copies: Callable[[Any], tf.Tensor] | None = None,
) -> tf.data.Dataset:
    """Return the shuffled sequence from position `start` on: ``(position, item)``.

    Args:
        items: `size` items, or fewer if some are left out. Other items then occur twice in a pass,
            because every position needs an item.
        size: number of positions in a pass.
        buffer: number of items in the shuffle buffer.
        seed: seed of the order.
        start: position of the first item.
        copies: function from an item to its average number of copies per pass, () float64. The sum
            over all items is `size`. `None`: each item once.
    """

    def one_pass(number: tf.Tensor) -> tf.data.Dataset:
        # Seed only this function's graph. TensorFlow cannot combine a seed of 0 with a tensor seed.
        tf.random.set_seed(seed + 1)
        present = items if copies is None else resampled(items, copies, seed, number)
        order = present.shuffle(buffer, seed=number, reshuffle_each_iteration=False)
        first = number * size
        return order.repeat().take(size).enumerate().map(lambda index, item: (first + index, item))

    first, inside = divmod(start, size)
    return tf.data.Dataset.range(first, np.iinfo(np.int64).max).flat_map(one_pass).skip(inside)


def equal_shares(counts: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return the `copies` of `shuffled` that make all present classes equally frequent.

    Args:
        counts: number of examples of each class, ``(C,)``.

    Returns:
        Function from an example's label to its average number of copies per pass, () float64.
    """
    present = (counts > 0).sum()
    shares = np.where(counts > 0, counts.sum() / (present * np.maximum(counts, 1)), 0.0)
    by_class = tf.constant(shares, tf.float64)  # (C,)
    return lambda label: by_class[label]


def resampled(
    items: tf.data.Dataset, copies: Callable[[Any], tf.Tensor], seed: int, number: tf.Tensor
) -> tf.data.Dataset:
    """Return each item as often as `copies` says, rounded up in some passes and down in others.

    Systematic resampling lays intervals end to end, one per item and as long as its number of
    copies. It takes an item once for each point of a grid of step 1 in the item's interval. All
    passes therefore have the same length. If the items are sorted by class and `copies` come from
    `equal_shares`, no pass lacks a class.
    """
    draw = tf.stack([tf.constant(-1 - seed, tf.int64), number])
    offset = 0.01 + 0.98 * tf.random.stateless_uniform((), draw, dtype=tf.float64)

    def lay(reached: tf.Tensor, item: Any) -> tuple[tf.Tensor, tuple[tf.Tensor, Any]]:
        end = reached + copies(item)
        return end, (tf.cast(tf.floor(end) - tf.floor(reached), tf.int32), item)

    def multiplied(count: tf.Tensor, item: Any) -> Any:
        return tf.nest.map_structure(lambda part: tf.repeat(part[None], count, axis=0), item)

    return items.scan(offset, lay).map(multiplied).unbatch()


def repeated(
    sequence: Callable[[int], tf.data.Dataset], times: int, start: int = 0
) -> tf.data.Dataset:
    """Return each item `times` times, from position `start` on. Each copy has its own position.

    Five items take turns: a b c d e a b c d e. Mixup and CutMix combine neighbours in a batch, so
    they never combine two copies of an item. Because five is odd, the next copy of an item has
    another partner.

    Args:
        sequence: function from a position to all ``(position, item)`` from this position on.
        times: number of copies of each item.
        start: position of the first copy.
    """
    if times == 1:
        return sequence(start)
    block = TURNS * times
    number, inside = divmod(start, block)
    groups = sequence(TURNS * number).map(lambda _, item: item).window(TURNS, drop_remainder=True)

    def turns(*parts: Any) -> tf.data.Dataset:
        group = parts[0] if len(parts) == 1 else parts
        items = group if isinstance(group, tf.data.Dataset) else tf.data.Dataset.zip(group)
        return items.repeat(times)

    def placed(index: tf.Tensor, item: Any) -> tuple[tf.Tensor, Any]:
        return index + number * block, item

    return groups.flat_map(turns).enumerate().map(placed).skip(inside)


def divided(sequence: tf.data.Dataset, batch_size: int, shard: Shard) -> tf.data.Dataset:
    """Return the part of a sequence that one pipeline makes: its slice of every global batch."""
    if shard.count == 1:
        return sequence

    def ours(position: tf.Tensor, _: object) -> tf.Tensor:
        return position % batch_size * shard.count // batch_size == shard.index

    return sequence.filter(ours)


def batched(
    examples: tf.data.Dataset,
    batch_size: int,
    shard: Shard,
    stack: int = 1,
    prefetch: int | None = None,
    finish: Callable[[tf.Tensor], tf.Tensor] | None = None,
) -> tf.data.Dataset:
    """Return batches ``(inputs, labels, next position)`` for each replica of a pipeline in turn.

    Args:
        examples: the pipeline's slice of the sequence, ``(input, label, position)``.
        batch_size: size of the global batch.
        shard: the slice.
        stack: above 1, an element stacks this number of batches of one replica along a new first
            axis.
        prefetch: number of batches to make in advance. `None`: ``tf.data.AUTOTUNE``.
        finish: function to apply to each batch of inputs. `None`: none.
    """

    def finished(inputs: tf.Tensor, labels: Any, positions: tf.Tensor) -> tuple:
        return finish(inputs) if finish else inputs, labels, beyond(positions[-1])

    def beyond(position: tf.Tensor) -> tf.Tensor:
        # With several slices, the end of the global batch, where all pipelines resume.
        return position + 1 if shard.count == 1 else (position // batch_size + 1) * batch_size

    size = batch_size // shard.count // shard.replicas
    batches = examples.batch(size, drop_remainder=True).map(finished)
    if stack > 1:
        batches = _stacked(batches, stack, shard.replicas)
    return ready(batches, prefetch)


def ready(batches: tf.data.Dataset, prefetch: int | None = None) -> tf.data.Dataset:
    """Return the batches, with `prefetch` of them made in advance; `None`: ``tf.data.AUTOTUNE``."""
    options = tf.data.Options()
    # All cores work without autotuning too. The autotuner's thread can delay a stream's end.
    options.autotune.enabled = False
    # Each core has its own example. To divide one example among the cores costs more than it saves.
    options.threading.max_intra_op_parallelism = 1
    # A thread that passes its example on, or waits for a file, leaves its core to a spare thread.
    # The number of threads is also the default number of examples that are made in parallel.
    options.threading.private_threadpool_size = (os.cpu_count() or 1) + _SPARE_THREADS
    return batches.prefetch(prefetch or tf.data.AUTOTUNE).with_options(options)


def _stacked(batches: tf.data.Dataset, steps: int, replicas: int) -> tf.data.Dataset:
    """Stack the batches of `steps` steps, for replica 0, 1, … in turn: ``(steps, b, …)``."""
    if replicas == 1:
        return batches.batch(steps, drop_remainder=True)
    by_step = batches.batch(replicas).batch(steps, drop_remainder=True)  # (steps, replicas, b, ..)

    def turn(part: tf.Tensor) -> tf.Tensor:
        return tf.transpose(part, [1, 0, *range(2, len(part.shape))])

    return by_step.map(lambda *parts: tuple(turn(part) for part in parts)).unbatch()
