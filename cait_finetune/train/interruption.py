"""SIGTERM, SIGHUP and Ctrl-C: the run saves its state and ends, instead of losing what it has done."""

from __future__ import annotations

import contextlib
import math
import signal
import time
from collections.abc import Iterator
from types import FrameType, TracebackType

from cait_finetune.config.advice import advise
from cait_finetune.errors import Interrupted, InterruptedByUser
from cait_finetune.runtime.signals import ASKING, LOST, Ending, handlers

_ONE_PRESS = 0.3  # seconds: a terminal, and a parent process, both hand over one Ctrl-C


class Interruption:
    """Inside, a signal that asks the process to end is noted in `signal`, and raises `Interrupted`.

    The first signal decides: repeated ones change nothing. A second Ctrl-C raises KeyboardInterrupt.
    `directory` is the run's once there is something to resume. Once the run is `finished`, nothing is
    noted. Afterwards `Ending` has it that the end is decided.
    """

    def __init__(self, directory: object = None) -> None:
        self.signal: signal.Signals | None = None
        self.directory = directory
        self.finished = False
        self._broke_in = False  # whether the handler raised, in the middle of whatever was going on
        self._raised = -math.inf  # when, on `time.monotonic`'s clock
        self._pressed: float | None = None  # the same of the last Ctrl-C
        self._obeyed = False
        self._deferring = 0
        self._installed = contextlib.ExitStack()

    def __enter__(self) -> Interruption:
        Ending.reopen()
        self._installed.enter_context(handlers(ASKING, self._note))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        Ending.decide()
        self._installed.close()
        self._undo_translation(error)

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Inside, what a library makes of an `Interrupted` becomes an `Interrupted` again.

        A function of C++ that calls Python, as TensorFlow's attributes and SavedModels do, raises its
        own RuntimeError in its place.

        Raises:
            Interrupted: a signal had raised it, and any other error came out.
        """
        try:
            yield
        except Exception as error:
            self._undo_translation(error)
            raise

    def _undo_translation(self, error: BaseException | None) -> None:
        if self._broke_in and isinstance(error, Exception):
            raise self.error() from error

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
        self._raised = time.monotonic()
        who = self.signal.name if self.signal else "another worker was asked to end"
        advice = (
            "training had not begun; give the same command again"
            if self.directory is None
            else f"the state is saved; go on with {advise('resume', self.directory)}"
        )
        kind = InterruptedByUser if self.signal is signal.SIGINT else Interrupted
        return kind(f"{who}: {advice}")

    def _note(self, number: int, frame: FrameType | None) -> None:
        # Whoever requeues a finished job would find nothing to resume.
        if self.finished or Ending.is_late(number):
            return
        now = time.monotonic()
        if number == signal.SIGINT:
            again = self._pressed is not None and now - self._pressed > _ONE_PRESS
            self._pressed = self._pressed if self._pressed is not None and not again else now
            if again and not self._obeyed:
                self._obeyed = True
                raise KeyboardInterrupt
        if self.signal is None:
            self.signal = signal.Signals(number)
        elif now - self._raised < LOST:  # the error is on its way out
            return
        if not self._deferring:
            self._broke_in = True
            raise self.error()
