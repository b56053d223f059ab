"""Quote ``key=value`` for messages, so that a shell and Hydra read back exactly the value."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from cait_finetune.config.text import kind_of
from cait_finetune.config.words import keep_text, quoted, read_text


def advise(key: str, value: object) -> str:
    """Return ``key=value`` to paste into a shell, in quotes if the value needs quotes.

    Args:
        key: a key of the main command, or of a command that reads its keys with `read_keys`.
        value: a path or other text.
    """
    text = str(value)
    word = f"{key}={text}"
    return shlex.quote(word if _read_back(key, word) == text else f"{key}={quoted(text)}")


def advise_formats(formats: Sequence[str]) -> str:
    """Return ``export=onnx`` for one format, or ``'export=[onnx,timm]'`` for several."""
    several = ",".join(formats)
    return shlex.quote(f"export={several}" if len(formats) == 1 else f"export=[{several}]")


def _read_back(key: str, word: str) -> object:
    """Return the value that a command reads from a word. `None`: the command refuses the word."""
    if not kind_of(key):
        return read_text(word.partition("=")[2])
    try:
        (kept,) = keep_text([word])
        value = OverridesParser.create().parse_override(kept).value()
    except HydraException:
        return None
    return getattr(value, "text", value)
