"""Exceptions for models and weights. Each has one message for the user."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class CaiTError(ValueError):
    """A value, a file or weights cannot be used. The message states what was got and expected."""


class WeightsError(CaiTError):
    """The weights cannot be found, read, or matched to the model."""


def near_names(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'cait_s24_224'?"`` if a known name is similar, else ``""``."""
    word, known = str(name).lower().replace("-", "_"), list(known)
    whole = [one for one in known if len(word) > 2 and word in one][:2]
    near = whole or difflib.get_close_matches(word, known, n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
