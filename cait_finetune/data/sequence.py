"""The training examples as one endless sequence, to be entered anywhere and divided in any way.

Example ``p`` is number ``p % n`` of pass ``p // n`` over the `n` examples, and each pass has an order
that depends on the seed and its number alone. Batch ``k`` are the examples from ``k * B`` to
``(k + 1) * B``, whichever process makes which part of it: so a run goes on where it stopped, and has
the same batches on any number of devices.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf


@dataclasses.dataclass(frozen=True)
class Share:
    """What one input pipeline makes of every global batch: slice `index` of `count` equal ones.

    A slice comes as `replicas` batches, one for each replica that the pipeline feeds.
    """

    index: int = 0
    count: int = 1
    replicas: int = 1


WHOLE = Share()


def shuffled(
    items: tf.data.Dataset, size: int, buffer: int, seed: int, start: int = 0
) -> tf.data.Dataset:
    """The sequence from position `start` on: ``(position, item)``.

    Args:
        items: `size` of them, or fewer where some are left out: their numbers then are too.
        buffer: from how many the next one is drawn.
    """

    def one_pass(number: tf.Tensor) -> tf.data.Dataset:
        # Of this function's graph alone; TensorFlow cannot join a seed of 0 with a tensor's.
        tf.random.set_seed(seed + 1)
        order = items.shuffle(buffer, seed=number, reshuffle_each_iteration=False)
        first = number * size
        return order.enumerate().map(lambda index, item: (first + index, item))

    first, inside = divmod(start, size)
    return tf.data.Dataset.range(first, np.iinfo(np.int64).max).flat_map(one_pass).skip(inside)


def divided(sequence: tf.data.Dataset, batch_size: int, share: Share) -> tf.data.Dataset:
    """The part of a sequence that one pipeline has to make: its slice of every global batch."""
    if share.count == 1:
        return sequence

    def ours(position: tf.Tensor, _: object) -> tf.Tensor:
        return position % batch_size * share.count // batch_size == share.index

    return sequence.filter(ours)


def batched(
    examples: tf.data.Dataset, batch_size: int, share: Share, stack: int = 1
) -> tf.data.Dataset:
    """Batches ``(inputs, labels, next position)`` for each replica of a pipeline in turn.

    Args:
        examples: a slice of the sequence, ``(input, label, position)``.
        stack: above 1, an element is so many batches of one replica, an axis in front.
    """

    def beyond(position: tf.Tensor) -> tf.Tensor:
        # Of a slice, the end of the whole batch: that is where all pipelines go on.
        return position + 1 if share.count == 1 else (position // batch_size + 1) * batch_size

    batches = examples.batch(batch_size // share.count // share.replicas, drop_remainder=True).map(
        lambda inputs, labels, positions: (inputs, labels, beyond(positions[-1]))
    )
    if stack > 1:
        batches = _stacked(batches, stack, share.replicas)
    return ready(batches)


def ready(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Batches that are made while the last ones are used."""
    options = tf.data.Options()
    # Every core works, as autotuning would have it too; but the tuner's thread can hold up the end
    # of a stream for half a minute.
    options.autotune.enabled = False
    # Each core has an example of its own: dividing one among them costs more than it saves.
    options.threading.max_intra_op_parallelism = 1
    return batches.prefetch(tf.data.AUTOTUNE).with_options(options)


def _stacked(batches: tf.data.Dataset, steps: int, replicas: int) -> tf.data.Dataset:
    """Elements for replica 0, 1, … in turn, each with its batches of some steps: ``(steps, b, …)``."""
    if replicas == 1:
        return batches.batch(steps, drop_remainder=True)
    by_step = batches.batch(replicas).batch(steps, drop_remainder=True)  # (steps, replicas, b, ..)

    def turn(part: tf.Tensor) -> tf.Tensor:
        return tf.transpose(part, [1, 0, *range(2, len(part.shape))])

    return by_step.map(lambda *parts: tuple(turn(part) for part in parts)).unbatch()
