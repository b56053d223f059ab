"""When Python looks for objects that are only held by each other.

A look can go through all objects there are, of which the imports make 450,000, and tracing a graph makes
looks frequent. Without them the first step of cait_xxs24_224 comes after 13 seconds, not 15, and the ten
epochs of ``python -m cait_finetune`` end after 19, not 22.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def not_collected() -> Iterator[None]:
    """Inside nobody looks; what is garbage by then waits for a look afterwards.

    Of the process: not where threads begin and end this each for itself.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextlib.contextmanager
def loading() -> Iterator[None]:
    """For the imports of a process that is all ours: what is there after the first is not looked at again.

    Only the first: later there may be garbage, which would then stay for ever.
    """
    with not_collected():
        yield
        if not gc.get_freeze_count():
            gc.freeze()
