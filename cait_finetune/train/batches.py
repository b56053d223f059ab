"""The training stream, batch by batch, and where it goes on after one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import tensorflow as tf

from cait_finetune.errors import bad_value


class Batches:
    """The stream, element by element, of which a call may use a part."""

    def __init__(self, stream: Iterable, strategy: tf.distribute.Strategy, steps: int) -> None:
        self._stream: Iterator = iter(stream)
        self._strategy = strategy
        self._steps = steps
        self._used = steps
        self._element: tuple = ()

    def take(self, steps: int) -> tuple[tf.Tensor, tf.Tensor, int, int]:
        """Images, labels, which batch of them to start with, and how many to use, at most `steps`."""
        if self._used == self._steps:
            self._used = 0
            try:
                self._element = next(self._stream)
            except StopIteration:
                raise bad_value(
                    "dataset", "no training image any more", "an endless stream"
                ) from None
        first = self._used
        steps = min(steps, self._steps - first)
        self._used += steps
        images, labels, _ = self._element
        return images, labels, first, steps

    def position(self) -> int:
        """Where the stream goes on after what was taken."""
        if not self._element:
            return 0
        local = self._strategy.experimental_local_results(self._element[2])
        return max(int(np.reshape(one.numpy(), -1)[self._used - 1]) for one in local)
