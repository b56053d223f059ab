"""Python's cyclic garbage collector, which is off while graphs are traced.

A full collection visits every object: 450,000 after the imports. Tracing a graph triggers many.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def gc_disabled() -> Iterator[None]:
    """Disable Python's cyclic garbage collector inside the block.

    The collector is the process's: threads must not enter and leave the block independently.
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
    """Disable the collector during the imports of a command, and exempt the imported objects from it.

    Only the first block of a process exempts objects: later ones would exempt garbage too.
    """
    with gc_disabled():
        yield
        if not gc.get_freeze_count():
            gc.freeze()
