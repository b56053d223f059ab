"""``key=value`` as a message advises it: a shell and Hydra read back exactly the value."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from cait_finetune.config.text import kind_of
from cait_finetune.config.words import keep_text, quoted, read_text


def advise(key: str, value: object) -> str:
    """``key=value`` to paste into a shell, in quotes where the value needs them.

    Args:
        key: of the main command, or of one whose keys `read_keys` reads.
        value: a path or another text.
    """
    text = str(value)
    word = f"{key}={text}"
    return shlex.quote(word if _read_back(key, word) == text else f"{key}={quoted(text)}")


def advise_formats(formats: Sequence[str]) -> str:
    """``export=onnx``, or ``'export=[onnx,timm]'``."""
    several = ",".join(formats)
    return shlex.quote(f"export={several}" if len(formats) == 1 else f"export=[{several}]")


def _read_back(key: str, word: str) -> object:
    """The value that a command reads in a word; `None` where it refuses the word."""
    if not kind_of(key):
        return read_text(word.partition("=")[2])
    try:
        (kept,) = keep_text([word])
        value = OverridesParser.create().parse_override(kept).value()
    except HydraException:
        return None
    return getattr(value, "text", value)
