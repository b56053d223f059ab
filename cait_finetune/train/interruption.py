"""On SIGTERM, SIGHUP or Ctrl-C, save the state of the run and end."""

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

_ONE_PRESS = 0.3  # seconds: the terminal and a parent process both deliver the same Ctrl-C


class Interruption:
    """Handles signals that ask the process to end: records the signal, and raises `Interrupted`.

    `signal` holds the first signal that came inside the block. A second Ctrl-C raises
    KeyboardInterrupt. Any other repeated signal changes nothing, or raises `Interrupted` again if
    `LOST` seconds have passed since the last exception. The caller sets `directory` to the run's
    directory once the run can be resumed. The caller sets `finished` once the run is finished;
    later signals are then ignored. After the block, `Ending` ignores signals.
    """

    def __init__(self, directory: object = None) -> None:
        self.signal: signal.Signals | None = None
        self.directory = directory
        self.finished = False
        self._broke_in = False  # whether the handler raised an exception in the running code
        self._raised = -math.inf  # time of the last exception, by `time.monotonic`
        self._pressed: float | None = None  # time of the last counted Ctrl-C, by `time.monotonic`
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
        """Raise `Interrupted` again if a library has replaced it by another error inside the block.

        A C++ function that calls Python, as in TensorFlow's attributes and SavedModels, raises its
        own RuntimeError instead of the Python exception.

        Raises:
            Interrupted: a signal had raised `Interrupted`, and the block ends with another error.
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
        """Record a signal inside the block, but raise nothing.

        The code in the block checks `signal`, and saves the state before it raises `error`.
        """
        self._deferring += 1
        try:
            yield
        finally:
            self._deferring -= 1

    def check(self) -> None:
        """Raise `Interrupted` if a signal has come.

        The handler may have raised it before, in code that caught it.

        Raises:
            Interrupted: a signal has come.
        """
        if self.signal is not None:
            raise self.error()

    def error(self) -> Interrupted:
        """Return the exception to raise after the state is saved."""
        self._raised = time.monotonic()
        who = self.signal.name if self.signal else "another worker was asked to end"
        advice = (
            "training had not begun; give the same command again"
            if self.directory is None
            else f"the state is saved; continue with {advise('resume', self.directory)}"
        )
        kind = InterruptedByUser if self.signal is signal.SIGINT else Interrupted
        return kind(f"{who}: {advice}")

    def _note(self, number: int, frame: FrameType | None) -> None:
        # A finished run must not exit with a status that asks for a restart.
        dropped = Ending.take_dropped()
        if self.finished or (not dropped and Ending.is_late(number)):
            return
        now = time.monotonic()
        if number == signal.SIGINT and not dropped:
            again = self._pressed is not None and now - self._pressed > _ONE_PRESS
            self._pressed = self._pressed if self._pressed is not None and not again else now
            if again and not self._obeyed:
                self._obeyed = True
                raise KeyboardInterrupt
        if self.signal is None:
            self.signal = signal.Signals(number)
        elif not dropped and now - self._raised < LOST:  # the previous exception still propagates
            return
        if not self._deferring:
            self._broke_in = True
            raise self.error()
