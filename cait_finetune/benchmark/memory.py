"""How much memory a contestant holds."""

from __future__ import annotations

from dataclasses import dataclass

import psutil


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
