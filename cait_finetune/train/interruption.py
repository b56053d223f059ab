"""SIGTERM and Ctrl-C: the run saves its state and ends, instead of losing what it has done."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType

from cait_finetune.errors import Interrupted

#: sysexits' EX_TEMPFAIL: start me again and I shall go on. For job scripts that requeue.
PREEMPTED = 75
INTERRUPTED = 130


@contextlib.contextmanager
def preemptible() -> Iterator[None]:
    """Within it SIGTERM ends the process with `PREEMPTED` where nothing else has taken it over.

    That is from the imports to the first step: there is nothing to save yet. A SystemExit, as no
    library takes that for an error of its own.
    """

    def end(number: int, frame: FrameType | None) -> None:
        print(
            "cait_finetune: SIGTERM: training had not begun; give the same command again",
            file=sys.stderr,
        )
        sys.exit(PREEMPTED)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class Interruption:
    """Within it the two signals only set `signal`; a second Ctrl-C interrupts at once, as usual.

    With `saved`, the directory of a run whose state is saved already, they end it at once.
    """

    def __init__(self, saved: object = None) -> None:
        self.signal: signal.Signals | None = None
        self._saved = saved
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():  # Python's rule for handlers
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is signal.SIGINT and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)
        if self._saved is not None:
            raise self.error(self._saved)

    def error(self, directory: object) -> Interrupted:
        """What to raise when the state is saved."""
        code = INTERRUPTED if self.signal is signal.SIGINT else PREEMPTED
        who = self.signal.name if self.signal else "another worker was asked to end"
        return Interrupted(f"{who}: the state is saved; go on with resume={directory}", code)
