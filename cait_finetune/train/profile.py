"""A trace of some steps, for TensorBoard's profiler."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

_FIRST, _LAST = 5, 10  # the graph is traced and the queues are filled by then


class Profile:
    """Writes what the steps from 5 to 10 do to a directory; without one, nothing."""

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Surrounds one call of the step function."""
        if self._directory is None or not _FIRST <= number <= _LAST:
            yield
            return
        if number == _FIRST:
            tf.profiler.experimental.start(str(self._directory))
        with tf.profiler.experimental.Trace("train", step_num=number, _r=1):
            yield
        if number == _LAST:
            tf.profiler.experimental.stop()
