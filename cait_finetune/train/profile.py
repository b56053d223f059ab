"""Write a trace of some steps for TensorBoard's profiler."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

_AFTER, _CALLS = 2, 5  # after 2 calls the graph is traced and the queues are full


class Profile:
    """Traces five calls of the step function.

    Args:
        directory: gets the trace. `None`: no trace.
    """

    def __init__(self, directory: Path | None) -> None:
        self._directory = directory
        self._calls = 0
        self._running = False

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Trace the call inside the block, if it is one of the five calls.

        Args:
            number: the step's number in the run.
        """
        self._calls += 1
        if self._directory and self._calls == _AFTER + 1:
            tf.profiler.experimental.start(str(self._directory))
            self._running = True
        if not self._running:
            yield
            return
        with tf.profiler.experimental.Trace("train", step_num=number, _r=1):
            yield
        if self._calls == _AFTER + _CALLS:
            self.stop()

    def stop(self) -> None:
        """End the trace, if it is still running."""
        if self._running:
            tf.profiler.experimental.stop()
            self._running = False
