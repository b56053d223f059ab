"""Memory that the C library keeps after it was freed."""

from __future__ import annotations

import contextlib
import ctypes


def malloc_trim() -> None:
    """Return freed memory to the operating system: glibc on Linux; elsewhere nothing happens.

    glibc keeps free memory between blocks in use: 0.2 GB after a step of cait_xxs24_224 was traced,
    optimised and compiled.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
