"""Run one run of a multirun in a forked process, so that no run affects the next one."""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

from cait_finetune.errors import Interrupted, InterruptedByUser, UserError, bad_value
from cait_finetune.runtime.signals import Ending

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def can_fork() -> bool:
    """Return whether `in_own_process` works in this process.

    A fork lacks the threads that TensorFlow has started in the parent process. The libraries of
    macOS do not survive a fork at all.
    """
    return sys.platform == "linux" and "tensorflow" not in sys.modules


def in_own_process(function: Callable[[], Any], advice: Callable[[], str] = str) -> Any:
    """Call a function in a forked child process, and forward SIGTERM, SIGINT and SIGHUP to the child.

    Args:
        advice: returns what the user can do if the child dies without an answer.

    Returns:
        The return value of the function, pickled by the child and loaded here.

    Raises:
        UserError: the function raised it, or the child died without an answer.
        Interrupted: the function raised it, or a signal came before the run set its handlers or
            after the run ended.
        KeyboardInterrupt: the function raised it, for example at a second Ctrl-C.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    reading, writing = os.pipe()
    parent, child = os.getpid(), 0
    received: list[signal.Signals] = []

    def hand_over(number: int, frame: object) -> None:
        received.append(signal.Signals(number))
        if child:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, number)

    with contextlib.ExitStack() as handlers:
        for number in _FORWARDED:
            before = signal.getsignal(number)
            if before is not signal.SIG_IGN:
                signal.signal(number, hand_over)
                handlers.callback(signal.signal, number, before)
        if (
            signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN
        ):  # the kernel would drop exit statuses
            handlers.callback(signal.signal, signal.SIGCHLD, signal.SIG_IGN)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        child = os.fork()
        if not child:
            handlers.close()
            os.close(reading)
            _end_with(parent)
            _answer(function, writing)
        for number in tuple(received):  # may have come before `child` was set
            os.kill(child, number)
        os.close(writing)
        with open(reading, "rb") as pipe:
            answer = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if received:  # no further run starts
            Ending.decide()
    if status == InterruptedByUser.code:
        raise KeyboardInterrupt
    if received and not answer:  # the signal came before the run set its handlers
        raise Interrupted(f"{received[0].name}: this run and the following runs were not executed")
    if not answer:
        raise bad_value("the run's process", _ended_by(status), "the end of the run", advice())
    value, error = pickle.loads(answer)
    if error is not None:
        raise error
    if received:  # the signal came after the run had ended
        raise Interrupted(
            f"{received[0].name}: this run is finished; the following runs were not executed"
        )
    return value


def _answer(function: Callable[[], Any], pipe: int) -> None:
    """Send the result or error of the function to the parent, and end the child process."""
    code = 1
    try:
        try:
            answer = function(), None
        except (UserError, Interrupted) as error:
            answer = None, error
        with open(pipe, "wb") as file:
            pickle.dump(answer, file)
        code = 0
    except BrokenPipeError:  # the parent is gone; the state is saved
        code = Interrupted.code
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except KeyboardInterrupt:
        code = InterruptedByUser.code
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)  # skip the exit handlers, which belong to the parent


def _end_with(parent: int) -> None:
    """Make the kernel send SIGTERM to this process when its parent dies.

    Without the parent, nobody would wait for the run.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:  # the parent died before prctl
        os._exit(Interrupted.code)


def _ended_by(status: int) -> str:
    if status >= 0:
        return f"exit status {status} with the traceback above"
    name = signal.Signals(-status).name
    return f"{name}{', as when memory runs out' if name == 'SIGKILL' else ''}"
