"""Compare the values of settings, and format different values of a column as different texts."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

_MOST_DIGITS = 16  # `repr` formats numbers that need more
_NOT_RECORDED = ""  # the mark of a key that a run did not record


def mark(value: Any) -> str:
    """Return a text that only equal values share. 1 and 1.0 are equal; 1, true and "1" are not."""
    return json.dumps(_plain(value))


def mark_of(settings: Mapping[str, Any], key: str) -> str:
    """Return the mark of a setting. A key that is missing differs from a key that is null."""
    return mark(settings[key]) if key in settings else _NOT_RECORDED


def labels(
    values: Iterable[Any], digits: int = 4, width: int | None = None
) -> Callable[[Any], str]:
    """Return a function that formats a value of a column.

    Numbers get `digits` significant digits. If different values would look alike, all numbers get
    more digits, and if that does not suffice, all values are written in full.

    Args:
        values: the values of the column.
        width: longest text; a longer text loses its middle. `None`: no limit.
    """
    different = {mark(value): value for value in values}
    texts: dict[str, str] = {}
    for style in _styles(digits, width):
        texts = {key: style(value) for key, value in different.items()}
        if len(set(texts.values())) == len(texts):
            break
    return lambda value: texts.get(mark(value), _text(value, digits, width))


def _styles(digits: int, width: int | None) -> Iterator[Callable[[Any], str]]:
    for number in range(digits, _MOST_DIGITS + 1):
        yield partial(_text, digits=number, width=width)
    yield partial(_text, digits=None, width=None)
    yield json.dumps


def _text(value: Any, digits: int | None, width: int | None) -> str:
    """Format a value. `digits` `None`: all digits."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value) if digits is None else f"{value:.{digits}g}"
    text = str(value)
    if width is None or len(text) <= width:
        return text
    return f"{text[: width // 2 - 1]}…{text[-(width // 2) :]}"


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
