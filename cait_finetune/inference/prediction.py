"""The prediction of a model for one file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Number:
    """A predicted number, and the ends of its interval. `None`: the model has no intervals."""

    name: str
    value: float
    lower: float | None = None
    upper: float | None = None

    @property
    def words(self) -> str:
        """Return text such as ``angle 12.3 (4.75 to 19.9)``."""
        interval = "" if self.lower is None else f" ({self.lower:.4g} to {self.upper:.4g})"
        return f"{self.name} {self.value:.4g}{interval}"


@dataclass(frozen=True)
class Answer:
    """The most probable class of one label of several."""

    label: str
    name: str
    probability: float

    @property
    def words(self) -> str:
        """Return text such as ``colour red 98.1%``."""
        return f"{self.label} {self.name} {self.probability:.1%}"


@dataclass(frozen=True)
class Prediction:
    """The classes of a file with their probabilities, most probable first; its numbers; or an error.

    With several labels, `answers` holds the class of each, and `classes` is empty.
    """

    path: Path
    classes: tuple[tuple[str, float], ...] = ()
    error: str = ""
    numbers: tuple[Number, ...] = ()
    answers: tuple[Answer, ...] = ()

    @property
    def name(self) -> str:
        r"""Return the path as valid UTF-8 text. Invalid bytes become escapes such as ``\xff``."""
        return os.fsencode(self.path).decode("utf-8", "backslashreplace")

    @property
    def words(self) -> str:
        """Return text such as ``rose 98.1%, tulip 1.2%`` or ``angle 12.3 (4.75 to 19.9)``, or the error."""
        return self.error or ", ".join(self.parts)

    @property
    def parts(self) -> list[str]:
        """Return the text of each class, number or label."""
        return [f"{name} {share:.1%}" for name, share in self.classes] + [
            one.words for one in (*self.numbers, *self.answers)
        ]
