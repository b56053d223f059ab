"""The prediction of a model for one file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Prediction:
    """The classes of a file with their probabilities, most probable first, or an error."""

    path: Path
    classes: tuple[tuple[str, float], ...] = ()
    error: str = ""

    @property
    def name(self) -> str:
        r"""Return the path as valid UTF-8 text. Invalid bytes become escapes such as ``\xff``."""
        return os.fsencode(self.path).decode("utf-8", "backslashreplace")

    @property
    def words(self) -> str:
        """Return text such as ``rose 98.1%, tulip 1.2%``, or the error."""
        return self.error or ", ".join(f"{name} {share:.1%}" for name, share in self.classes)
