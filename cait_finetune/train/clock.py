"""Measure the time of a run: in total, in training steps, and waiting for data."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from cait_finetune.train.run_state import RunState


class Clock:
    """Counts the seconds of a run, also across interruptions, and the speed of its steps.

    Args:
        state: gets the times.
        several: whether one call of the step function makes several steps.
    """

    def __init__(self, state: RunState, several: bool) -> None:
        self.images = 0
        self._waited = 0.0
        self._several = several
        self._state = state
        self._traces = True
        self._before = state.seconds
        self._begin = self._since = time.perf_counter()

    def start(self, traces: bool = False) -> None:
        """Start to time steps.

        Args:
            traces: whether the first of these steps trace the graph. The totals exclude such steps.
        """
        self._traces = self._traces or traces
        self.images, self._waited, self._since = 0, 0.0, time.perf_counter()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Count the time of the block as waiting for data.

        An accelerator may still compute during the wait. The counted time is then longer than the
        time that the accelerator was idle.
        """
        begin = time.perf_counter()
        yield
        self._waited += time.perf_counter() - begin

    def lap(self) -> tuple[float, float]:
        """Return images per second, and the fraction of time spent waiting for data.

        Both values are since the last lap. The totals in the state exclude a lap that traces the
        graph.
        """
        seconds = time.perf_counter() - self._since
        if not self._traces:
            self._state.timed_seconds += seconds
            self._state.waited_seconds += self._waited
            self._state.timed_images += self.images
        speed, waited = self.images / seconds, self._waited / seconds
        # A run's first call makes one step. If later calls make several, the second call also traces.
        self._traces = self._traces and self._several and self._state.step <= 1
        self.start()
        return speed, waited

    def read(self) -> float:
        """Return the seconds of the whole run so far."""
        self._state.seconds = self._before + time.perf_counter() - self._begin
        return self._state.seconds
