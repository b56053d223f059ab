"""What values a key takes, in words, and whether a typed value is one of them."""

from __future__ import annotations

import re
from types import UnionType
from typing import Any, Union, get_args, get_origin

from cait_finetune.config.keys import Declared

_WORDS = {
    bool: "true or false", int: "a whole number", float: "a number", str: "text",
    Any: "a whole number, or [height,width], or null",
}  # fmt: skip


def type_words(hint: Any) -> str:
    """Return what a type of the configuration takes, in words: ``a list of numbers``."""
    (one, several), optional = _element(hint), type(None) in get_args(hint)
    plural = {"a number": "numbers", "a whole number": "whole numbers", "text": "texts"}
    words = _WORDS.get(one, str(one))
    return (f"a list of {plural.get(words, words)}" if several else words) + ", or null" * optional


def takes(hint: Any, value: str, rule: Declared | None) -> bool:
    """Return whether a key of this type takes the typed value. Texts are not checked further."""
    one, several = _element(hint)
    listed = value.startswith("[") and value.endswith("]")
    if value in ("", "null"):
        return type(None) in get_args(hint) or one is Any
    if rule and rule.takes:  # statistics: numbers, or a word
        if not listed:
            return value == "auto"
        one, several = float, True
    if one is Any:
        one, several = int, listed
    if several != listed and not (several and one is str):
        return False
    parts = re.split(r"\s*,\s*", value[1:-1]) if listed else [value]
    return all(_is(one, part, rule) for part in parts)


def element_type(hint: Any) -> Any:
    """Return the type of a list's elements, or of a value that is no list."""
    return _element(hint)[0]


def _is(kind: Any, text: str, rule: Declared | None) -> bool:
    if kind is bool:
        return text.lower() in ("true", "false", "yes", "no", "on", "off")
    if kind not in (int, float):
        return True
    try:
        number = int(text) if kind is int else float(text)
    except ValueError:
        return False
    return rule is None or rule.low is None or rule.low <= number <= rule.high


def _element(hint: Any) -> tuple[Any, bool]:
    """Return a type without ``| None``, or the type of its elements, and whether it is a list."""
    if get_origin(hint) in (Union, UnionType):
        hint = next(one for one in get_args(hint) if one is not type(None))
    return (get_args(hint)[0], True) if get_origin(hint) is list else (hint, False)
