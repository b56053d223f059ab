"""What every optimizer has in common."""

from __future__ import annotations


class Optimizer:
    """Interface."""
