"""SIGTERM, SIGHUP and Ctrl-C: the run saves its state and ends, instead of losing what it has done."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import ClassVar

from cait_finetune.errors import Interrupted, InterruptedByUser

_ONE_PRESS = 0.3  # seconds: a terminal, and a parent process, both hand over one Ctrl-C


@contextlib.contextmanager
def preemptible() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP end the process where nothing else has taken them over.

    That is from the imports to the first step: there is nothing to save yet. A SystemExit, as no
    library takes that for an error of its own.
    """

    def end(number: int, frame: FrameType | None) -> None:
        if Interruption.ended_well:  # the run is finished, and the process about to end
            return
        print(
            f"cait_finetune: {signal.Signals(number).name}: training had not begun; give the same "
            "command again",
            file=sys.stderr,
        )
        sys.exit(Interrupted.code)

    with _handlers([signal.SIGTERM, signal.SIGHUP], end):
        yield


class Interruption:
    """Inside, a signal that asks the process to end is noted in `signal`, and raises `Interrupted`.

    A second Ctrl-C raises KeyboardInterrupt. `directory` is the run's once there is something to
    resume. Outside of it, and once the run is `finished`, nothing is noted.
    """

    #: Whether the last one of this process was left without an error.
    ended_well: ClassVar[bool] = False

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self.directory: object = None
        self.finished = False
        self._since = 0.0
        self._deferring = 0
        self._installed = contextlib.ExitStack()

    def __enter__(self) -> Interruption:
        Interruption.ended_well = False
        names = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
        self._installed.enter_context(_handlers(names, self._note))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        Interruption.ended_well = kind is None
        self._installed.close()

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Inside, a signal is noted and nothing is raised: whoever looks at `signal` saves first."""
        self._deferring += 1
        try:
            yield
        finally:
            self._deferring -= 1

    def check(self) -> None:
        """Raise where a signal came, as Python drops what is raised in the middle of a collection.

        Raises:
            Interrupted: a signal came.
        """
        if self.signal is not None:
            raise self.error()

    def error(self) -> Interrupted:
        """What to raise when the state is saved."""
        who = self.signal.name if self.signal else "another worker was asked to end"
        advice = (
            "training had not begun; give the same command again"
            if self.directory is None
            else f"the state is saved; go on with resume={self.directory}"
        )
        kind = InterruptedByUser if self.signal is signal.SIGINT else Interrupted
        return kind(f"{who}: {advice}")

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.finished:  # whoever requeues the job would find nothing to resume
            return
        if self.signal is signal.SIGINT and number == signal.SIGINT:
            if now - self._since > _ONE_PRESS:
                raise KeyboardInterrupt
            return
        self.signal, self._since = signal.Signals(number), now
        if not self._deferring:
            raise self.error()


@contextlib.contextmanager
def _handlers(numbers: list[signal.Signals], handler: object) -> Iterator[None]:
    """Inside, `handler` is that of the signals; not of a SIGHUP that is ignored, as under nohup."""
    before = {}
    if threading.current_thread() is threading.main_thread():  # Python's rule for handlers
        for number in numbers:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, one in before.items():
            signal.signal(number, one)
