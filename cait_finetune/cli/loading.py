"""Let Ctrl-C end a command at once while the command only imports modules.

`KeyboardInterrupt` is not enough: raised inside an import, it becomes another error or is ignored.
The commands import this module first, so it imports almost nothing.
"""

from __future__ import annotations

import os
import signal

from cait_finetune.runtime.signals import Ending, raise_interrupt

INTERRUPTED = 130
_MESSAGE = b"cait_finetune: interrupted before the command began\n"
#: A duplicate of descriptor 2, because `quiet_imports` redirects it. Empty: standard error is closed, or
#: no command is loading.
_console: list[int] = []


def begin_loading() -> None:
    """Make Ctrl-C end the process at once, and record that a command owns the process."""
    Ending.own_process = True
    try:
        _console[:] = [os.dup(2)]
    except OSError:
        _console.clear()
    signal.signal(signal.SIGINT, _stop)


def end_loading() -> None:
    """Make Ctrl-C raise `KeyboardInterrupt` again, if `begin_loading` changed it.

    From here on the command writes files, and must be able to finish or remove them.
    """
    if signal.getsignal(signal.SIGINT) is _stop:
        signal.signal(signal.SIGINT, raise_interrupt)
        while _console:
            os.close(_console.pop())


def _stop(*_: object) -> None:
    for descriptor in _console:
        try:
            os.write(descriptor, _MESSAGE)
        except OSError:  # the console was closed
            break
    os._exit(INTERRUPTED)
