"""How long a run has taken, and what for."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from cait_finetune.train.run_state import RunState


class Clock:
    """Seconds of the run, whatever interruptions there were, and what was done in them.

    Args:
        several: whether a call of the step makes several steps.
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
        """Time steps from here on; if the first of them trace the graph, those do not count."""
        self._traces = self._traces or traces
        self.images, self._waited, self._since = 0, 0.0, time.perf_counter()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """What happens within is waiting for data. A device that still computes meanwhile loses
        nothing by it, but then the next wait is shorter: in the long run it is what data costs."""
        begin = time.perf_counter()
        yield
        self._waited += time.perf_counter() - begin

    def lap(self) -> tuple[float, float]:
        """Images a second since the last lap, and the share of the time that was waited for them."""
        seconds = time.perf_counter() - self._since
        if not self._traces:
            self._state.timed_seconds += seconds
            self._state.waited_seconds += self._waited
            self._state.timed_images += self.images
        speed, waited = self.images / seconds, self._waited / seconds
        # The first step is alone; several in a call are traced by the call after it.
        self._traces = self._traces and self._several and self._state.step <= 1
        self.start()
        return speed, waited

    def read(self) -> float:
        """Seconds of the whole run so far."""
        self._state.seconds = self._before + time.perf_counter() - self._begin
        return self._state.seconds
