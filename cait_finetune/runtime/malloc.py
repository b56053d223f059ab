"""The memory that a process holds and nobody in it uses."""

from __future__ import annotations

import contextlib
import ctypes


def give_back() -> None:
    """Hand it back to the system, where the C library can: glibc, on Linux.

    It keeps what was freed between pieces that are in use. After a graph is traced, optimised and
    compiled that is .2 GB of a step of cait_xxs24_224.
    """
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
