"""Handle the signals that ask the process to end. The first signal decides how the process ends.

Schedulers repeat SIGTERM, and users repeat Ctrl-C, while TensorFlow's threads still end. A repeated
signal changes nothing for five seconds (`LOST`, `_PATIENCE`).
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
#: Seconds after which another signal raises its error again: the first error was probably dropped.
LOST = 5.0
_PATIENCE = 5.0  # seconds after the decision until Ctrl-C ends the process immediately
_SOON = 0.01  # seconds until a signal whose error was dropped is sent again


class Ending:
    """Records whether the end of this process is decided."""

    decided: ClassVar[bool] = False
    #: Whether the process belongs to a command, not to a notebook, a program or a test.
    own_process: ClassVar[bool] = False
    _since: ClassVar[float] = 0.0
    _installed: ClassVar[bool] = False
    _number: ClassVar[int | None] = None  # the last signal that a handler did not ignore
    _dropped: ClassVar[bool] = False

    @classmethod
    def decide(cls) -> None:
        """Ignore further signals: the exit status is known, and the work is finished or saved."""
        if not cls.decided:
            cls.decided, cls._since = True, time.monotonic()

    @classmethod
    def reopen(cls) -> None:
        """Handle signals again, because another run begins in this process."""
        cls.decided = False

    @classmethod
    def is_late(cls, number: int) -> bool:
        """Return whether a signal comes after the end was decided, and so changes nothing.

        If the process hangs while it ends, Ctrl-C exits the process immediately with status 130.
        """
        if cls.decided and number == signal.SIGINT and time.monotonic() - cls._since > _PATIENCE:
            os._exit(InterruptedByUser.code)
        if not cls.decided:
            cls._number = number
        return cls.decided

    @classmethod
    def take_dropped(cls) -> bool:
        """Return whether this signal was sent again because Python dropped the handler's error."""
        dropped, cls._dropped = cls._dropped, False
        return dropped

    @classmethod
    @contextlib.contextmanager
    def undropped(cls) -> Iterator[None]:
        """Send a signal again if Python drops the error that its handler raised.

        Python drops an error raised in a destructor, in a weak reference's callback and in a
        garbage collector callback, and calls `sys.unraisablehook`.
        """
        before = sys.unraisablehook
        sent: list[threading.Timer] = []

        def send_again(dropped: sys.UnraisableHookArgs) -> None:
            if issubclass(dropped.exc_type, Exception) or cls._number is None:
                before(dropped)
                return
            cls._dropped = True
            # A signal sent here would raise its error inside the hook, where Python drops it too.
            sent.append(threading.Timer(_SOON, os.kill, (os.getpid(), cls._number)))
            with contextlib.suppress(RuntimeError):  # the interpreter ends, so it starts no thread
                sent[-1].start()

        sys.unraisablehook = send_again
        try:
            yield
        finally:
            if sys.unraisablehook is send_again:
                sys.unraisablehook = before
            for timer in sent:  # the restored handlers might end a notebook or program
                timer.cancel()


def raise_interrupt(number: int, frame: FrameType | None) -> None:
    """Handle the first Ctrl-C as Python does. Ignore every Ctrl-C in the next five seconds.

    A Ctrl-C after these five seconds exits the process immediately with status 130.

    Raises:
        KeyboardInterrupt: the first Ctrl-C.
    """
    if Ending.take_dropped() or not Ending.is_late(number):
        Ending.decide()
        raise KeyboardInterrupt


@contextlib.contextmanager
def preemptible(name: str, advice: str) -> Iterator[None]:
    """Make SIGTERM and SIGHUP inside the block print `advice` and end the process with status 75.

    `Interruption` replaces the handlers while a run has a state to save. The handler raises
    SystemExit. A library may catch SystemExit, and C++ code that calls Python replaces the
    exception by its own error. Therefore a signal that comes `LOST` seconds later raises SystemExit
    again. After a signal, the block itself also ends with SystemExit, even if its code returned
    normally or raised another error.

    After the block, a command's own process ignores SIGTERM, SIGINT and SIGHUP, because the
    interpreter and TensorFlow take a while to end. In any other process, the block restores the
    previous handlers. A block inside another block changes nothing.

    Args:
        name: begins the message, such as ``cait_finetune export``.
        advice: the rest of the message.
    """

    def end(number: int, frame: FrameType | None) -> None:
        again = Ending.take_dropped() or (ended and time.monotonic() - ended[-1] > LOST)
        if not again and Ending.is_late(number):
            return
        if not ended:
            Ending.decide()
            print(f"{name}: {signal.Signals(number).name}: {advice}", file=sys.stderr, flush=True)
        ended.append(time.monotonic())
        sys.exit(Interrupted.code)

    if Ending._installed:
        yield
        return
    ended: list[float] = []  # the times at which `end` raised SystemExit
    Ending.reopen()
    Ending._installed = True
    try:
        with handlers((signal.SIGTERM, signal.SIGHUP), end):
            try:
                yield
            except Exception as error:
                if ended:
                    raise SystemExit(Interrupted.code) from error
                raise
            else:
                if ended:
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
    """Handle the signals with `handler` inside the block, then restore the previous handlers.

    An ignored SIGHUP stays ignored, as under nohup. Outside the main thread the block changes
    nothing, because Python sets handlers only in the main thread. A signal that is ignored when the
    block ends stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {}
    for number in numbers:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            before[number] = signal.signal(number, handler)
    try:
        with Ending.undropped():
            yield
    finally:
        for number, one in before.items():
            if signal.getsignal(number) is not signal.SIG_IGN:  # ignored at the end of a command
                signal.signal(number, one)
