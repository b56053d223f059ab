"""The training examples as one endless sequence, to be entered anywhere and divided in any way.

Example ``p`` is number ``p % n`` of pass ``p // n`` over the `n` examples, and each pass has an order
that depends on the seed and its number alone. Batch ``k`` are the examples from ``k * B`` to
``(k + 1) * B``, whichever process makes which part of it: so a run goes on where it stopped, and has
the same batches on any number of devices.
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
    """What one input pipeline makes of every global batch: slice `index` of `count` equal ones.

    A slice comes as `replicas` batches, one for each replica that the pipeline feeds.
    """

    index: int = 0
    count: int = 1
    replicas: int = 1


WHOLE = Shard()

_SPARE_THREADS = 4

#: So many items take turns where each is wanted several times.
TURNS = 5


def shuffled(
    items: tf.data.Dataset,
    size: int,
    buffer: int,
    seed: int,
    start: int = 0,
    copies: Callable[[Any], tf.Tensor] | None = None,
) -> tf.data.Dataset:
    """The sequence from position `start` on: ``(position, item)``.

    Args:
        items: `size` of them, or fewer where some are left out: others then come twice in a pass, as
            positions without an item would shift all that is counted by them.
        buffer: from how many the next one is drawn.
        copies: how often an item is there in each pass, on average; float64, `size` in sum over all.
    """

    def one_pass(number: tf.Tensor) -> tf.data.Dataset:
        # Of this function's graph alone; TensorFlow cannot join a seed of 0 with a tensor's.
        tf.random.set_seed(seed + 1)
        present = items if copies is None else resampled(items, copies, seed, number)
        order = present.shuffle(buffer, seed=number, reshuffle_each_iteration=False)
        first = number * size
        return order.repeat().take(size).enumerate().map(lambda index, item: (first + index, item))

    first, inside = divmod(start, size)
    return tf.data.Dataset.range(first, np.iinfo(np.int64).max).flat_map(one_pass).skip(inside)


def equal_shares(counts: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
    """From a label to how often its examples are wanted, so that all classes there are come equally.

    Args:
        counts: examples of each class, ``(C,)``.
    """
    present = (counts > 0).sum()
    shares = np.where(counts > 0, counts.sum() / (present * np.maximum(counts, 1)), 0.0)
    by_class = tf.constant(shares, tf.float64)  # (C,)
    return lambda label: by_class[label]


def resampled(
    items: tf.data.Dataset, copies: Callable[[Any], tf.Tensor], seed: int, number: tf.Tensor
) -> tf.data.Dataset:
    """The items, each as often as `copies` says: rounded up or down, by turns, from pass to pass.

    Systematic resampling: the shares are laid end to end, and an item is taken for each point of a
    grid of step 1 that falls on its own. So all passes are equally long, and none is without a class.
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
    """Each item `times` times, from position `start` on, with a position of its own each time.

    Five items take turns, a b c d e a b c d e: neighbours in a batch, which may be mixed with each
    other, are always two images, and as five is odd, others the next time.

    Args:
        sequence: from a position on, ``(position, item)``.
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
    """The part of a sequence that one pipeline has to make: its slice of every global batch."""
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
    """Batches ``(inputs, labels, next position)`` for each replica of a pipeline in turn.

    Args:
        examples: a slice of the sequence, ``(input, label, position)``.
        stack: above 1, an element is so many batches of one replica, an axis in front.
        finish: what is still to be done to a batch of inputs.
    """

    def finished(inputs: tf.Tensor, labels: Any, positions: tf.Tensor) -> tuple:
        return finish(inputs) if finish else inputs, labels, beyond(positions[-1])

    def beyond(position: tf.Tensor) -> tf.Tensor:
        # Of a slice, the end of the whole batch: that is where all pipelines go on.
        return position + 1 if shard.count == 1 else (position // batch_size + 1) * batch_size

    size = batch_size // shard.count // shard.replicas
    batches = examples.batch(size, drop_remainder=True).map(finished)
    if stack > 1:
        batches = _stacked(batches, stack, shard.replicas)
    return ready(batches, prefetch)


def ready(batches: tf.data.Dataset, prefetch: int | None = None) -> tf.data.Dataset:
    """Batches that are made while the last ones are used, `prefetch` of them ahead."""
    options = tf.data.Options()
    # Every core works, as autotuning would have it too; but the tuner's thread can hold up the end
    # of a stream for half a minute.
    options.autotune.enabled = False
    # Each core has an example of its own: dividing one among them costs more than it saves.
    options.threading.max_intra_op_parallelism = 1
    # A thread that hands its example on, or waits for a file, leaves its core to another: on two cores
    # six threads made 1.2 times as many images as two. As many examples are made at a time.
    options.threading.private_threadpool_size = (os.cpu_count() or 1) + _SPARE_THREADS
    return batches.prefetch(prefetch or tf.data.AUTOTUNE).with_options(options)


def _stacked(batches: tf.data.Dataset, steps: int, replicas: int) -> tf.data.Dataset:
    """Elements for replica 0, 1, … in turn, each with its batches of some steps: ``(steps, b, …)``."""
    if replicas == 1:
        return batches.batch(steps, drop_remainder=True)
    by_step = batches.batch(replicas).batch(steps, drop_remainder=True)  # (steps, replicas, b, ..)

    def turn(part: tf.Tensor) -> tf.Tensor:
        return tf.transpose(part, [1, 0, *range(2, len(part.shape))])

    return by_step.map(lambda *parts: tuple(turn(part) for part in parts)).unbatch()
