"""Disable Python's cyclic garbage collector during imports and calls of the training step.

A full collection visits every object that the imports made, and tracing a graph triggers many
collections.
"""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def gc_disabled() -> Iterator[None]:
    """Disable Python's cyclic garbage collector inside the block.

    The collector belongs to the process: two threads must not use the block at the same time.
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
    """Disable the collector during a command's imports, then exempt the objects made so far.

    The collector never visits an exempt object again. Only the first block of a process exempts
    objects. A later block would also exempt garbage.
    """
    with gc_disabled():
        yield
        if not gc.get_freeze_count():
            gc.freeze()
