"""The most that a machine does, to hold other work against."""

from __future__ import annotations

import time
from collections.abc import Callable

#: Of the square matrices whose products are tried on a CPU.
SIZES = (1024, 2048, 4096)


def fastest(work: Callable[[], object], operations: float, seconds: float) -> float:
    """Operations a second of the quickest of as many calls as fit into so many seconds, at least one.

    Args:
        work: waits for its result; its first call, in which code is compiled, does not count.
        operations: of one call.
    """
    work()
    best, until = float("inf"), time.perf_counter() + seconds
    while True:
        begin = time.perf_counter()
        work()
        end = time.perf_counter()
        best = min(best, end - begin)
        if end > until:
            return operations / best
