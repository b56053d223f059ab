"""Iterate over the training stream by batches, and know the position after each batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from cait_finetune.errors import bad_value


class Batches:
    """The batches of a stream, in portions. An element of the stream holds `steps` batches.

    Args:
        stream: yields (images, labels, positions).
        steps: batches per element.
    """

    def __init__(self, stream: Iterable, strategy: tf.distribute.Strategy, steps: int) -> None:
        self._stream: Iterator = iter(stream)
        self._strategy = strategy
        self._steps = steps
        self._used = steps
        self._element: tuple = ()

    def take(self, steps: int) -> tuple[tf.Tensor, tf.Tensor, int, int]:
        """Return the next batches: at most `steps`, and at most the rest of the current element.

        Returns:
            The element's images and labels, the index of the first batch to use, and the number of
            batches to use.

        Raises:
            UserError: the stream has ended.
        """
        if self._used == self._steps:
            self._used = 0
            try:
                self._element = next(self._stream)
            except StopIteration:
                raise bad_value(
                    "dataset", "no further training image", "an endless stream"
                ) from None
        first = self._used
        steps = min(steps, self._steps - first)
        self._used += steps
        images, labels, _ = self._element
        return images, labels, first, steps

    def position(self) -> int:
        """Return the position in the stream after the last batch that `take` returned."""
        if not self._element:
            return 0
        local = self._strategy.experimental_local_results(self._element[2])
        return max(int(np.reshape(one.numpy(), -1)[self._used - 1]) for one in local)
