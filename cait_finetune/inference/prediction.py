"""What a model says of a file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Prediction:
    """The most probable classes of a file, most probable first, or why it has none."""

    path: Path
    classes: tuple[tuple[str, float], ...] = ()
    error: str = ""

    @property
    def name(self) -> str:
        r"""The path as it can be written anywhere: what is no UTF-8 in it as ``\xff``."""
        return os.fsencode(self.path).decode("utf-8", "backslashreplace")

    @property
    def words(self) -> str:
        """``rose 98.1%, tulip 1.2%``, or the error."""
        return self.error or ", ".join(f"{name} {share:.1%}" for name, share in self.classes)
