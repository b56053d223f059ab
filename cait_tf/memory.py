"""Peak memory of this process."""

from __future__ import annotations

import contextlib
import re
import sys
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_memory() -> int:
    """Return the peak resident memory in bytes since the start or the last `reset_peak_memory`."""
    # On Linux a child process inherits `ru_maxrss` from its parent.
    if _STATUS.exists():
        found = re.search(r"VmHWM:\s+(\d+) kB", _STATUS.read_text(encoding="utf-8"))
        if found:
            return int(found[1]) * 1024
    import resource  # not on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def reset_peak_memory() -> None:
    """Set the peak to the memory in use now. Do nothing if the system cannot, as outside Linux."""
    with contextlib.suppress(OSError):
        _CLEAR.write_text("5", encoding="utf-8")
