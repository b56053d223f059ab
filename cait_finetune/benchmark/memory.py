"""How much memory this process holds, and the most it has held."""

from __future__ import annotations

import contextlib
import re
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@dataclass(frozen=True)
class Memory:
    """Bytes: with the libraries loaded and nothing done, at most in the process's life, and at most
    since its first calls, in which graphs are made and code is compiled, were over."""

    libraries: int
    life: int
    calls: int

    @property
    def work(self) -> int:
        """What the calls took beside the libraries."""
        return self.calls - self.libraries


def resident() -> int:
    """Bytes now."""
    return psutil.Process().memory_info().rss


def peak() -> int:
    """The most bytes since the process began, or `forget_peak`."""
    # Linux hands `ru_maxrss` on from the process that started this one.
    if _STATUS.exists() and (
        found := re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text(encoding="utf-8"))
    ):
        return int(found[1]) * 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def forget_peak() -> None:
    """Let the peak be what is held now, where the system can: on Linux."""
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5", encoding="utf-8")
