"""The seconds in which a command only imports: Ctrl-C ends it at once.

`KeyboardInterrupt` would not do: raised inside an import it becomes another error, or is ignored. This
module imports next to nothing, as it comes first.
"""

from __future__ import annotations

import os
import signal

from cait_finetune.runtime.signals import Ending, raise_interrupt

INTERRUPTED = 130
_MESSAGE = b"cait_finetune: interrupted; nothing had begun\n"
#: Standard error, which other code replaces for a while: none where it is closed.
_console: list[int] = []


def begin_loading() -> None:
    """Take Ctrl-C over: the process is a command's own."""
    Ending.own_process = True
    try:
        _console[:] = [os.dup(2)]
    except OSError:
        _console.clear()
    signal.signal(signal.SIGINT, _stop)


def end_loading() -> None:
    """Give Ctrl-C its usual meaning, if `begin_loading` changed it: now there are files to leave whole."""
    if signal.getsignal(signal.SIGINT) is _stop:
        signal.signal(signal.SIGINT, raise_interrupt)
        while _console:
            os.close(_console.pop())


def _stop(*_: object) -> None:
    for descriptor in _console:
        try:
            os.write(descriptor, _MESSAGE)
        except OSError:  # a console that is gone
            break
    os._exit(INTERRUPTED)
