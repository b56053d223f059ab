"""Signals that ask the process to end: the first decides how it ends, later ones change nothing.

A scheduler repeats SIGTERM, and a user Ctrl-C, while TensorFlow's threads still end.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import ClassVar

from cait_finetune.errors import Interrupted, InterruptedByUser

ASKING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: Seconds after which an error that a signal raised has been dropped, and is raised again.
LOST = 5.0
_PATIENCE = 5.0  # seconds that a user waits after the end was decided, before Ctrl-C ends at once


class Ending:
    """Whether this process' end is decided."""

    decided: ClassVar[bool] = False
    #: Whether the process is a command's own: not a notebook's, a program's or a test's.
    own_process: ClassVar[bool] = False
    _since: ClassVar[float] = 0.0
    _installed: ClassVar[bool] = False

    @classmethod
    def decide(cls) -> None:
        """Ignore further signals: the exit status is known, and the work done or saved."""
        if not cls.decided:
            cls.decided, cls._since = True, time.monotonic()

    @classmethod
    def reopen(cls) -> None:
        """Listen to signals again: another run begins in this process."""
        cls.decided = False

    @classmethod
    def is_late(cls, number: int) -> bool:
        """Whether a signal changes nothing. Ctrl-C ends a process at once that hangs while it ends."""
        if cls.decided and number == signal.SIGINT and time.monotonic() - cls._since > _PATIENCE:
            os._exit(InterruptedByUser.code)
        return cls.decided


def raise_interrupt(number: int, frame: FrameType | None) -> None:
    """Handle the first Ctrl-C as Python does; ignore those that follow.

    Raises:
        KeyboardInterrupt: the first Ctrl-C.
    """
    if not Ending.is_late(number):
        Ending.decide()
        raise KeyboardInterrupt


@contextlib.contextmanager
def preemptible(name: str, advice: str) -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP print `advice` and end the process with status 75.

    `Interruption` takes the signals over while there is a state to save. The exit is a SystemExit.
    Python drops it in a destructor or a callback of the garbage collector, and C++ that calls Python
    raises an error of its own in its place: a signal that comes again raises it again, and the block
    ends with it, whatever it would have ended with. Afterwards a command's own process ignores the
    signals: the interpreter and TensorFlow take a while to end. Any other process gets its handlers
    back. A block inside another one changes nothing.

    Args:
        name: what the message begins with, such as ``cait_finetune export``.
    """

    def end(number: int, frame: FrameType | None) -> None:
        again = told and time.monotonic() - told[-1] > LOST
        if not again and Ending.is_late(number):
            return
        if not told:
            Ending.decide()
            print(f"{name}: {signal.Signals(number).name}: {advice}", file=sys.stderr, flush=True)
        told.append(time.monotonic())
        sys.exit(Interrupted.code)

    if Ending._installed:
        yield
        return
    told: list[float] = []  # when the exit was raised
    Ending.reopen()
    Ending._installed = True
    try:
        with handlers((signal.SIGTERM, signal.SIGHUP), end):
            try:
                yield
            except Exception as error:
                if told:
                    raise SystemExit(Interrupted.code) from error
                raise
            else:
                if told:
                    raise SystemExit(Interrupted.code)
            finally:
                Ending.decide()
                if Ending.own_process:
                    for number in ASKING:
                        signal.signal(number, signal.SIG_IGN)
    finally:
        Ending._installed = False


@contextlib.contextmanager
def handlers(
    numbers: Iterable[signal.Signals], handler: Callable[[int, FrameType | None], None]
) -> Iterator[None]:
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
            if signal.getsignal(number) is not signal.SIG_IGN:  # as at the end of a command
                signal.signal(number, one)
