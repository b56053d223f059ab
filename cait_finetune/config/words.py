"""Quote ``key=value`` words so that Hydra reads a text key's value as typed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

from cait_finetune.config.text import Kind, holds_text, kind_of
from cait_finetune.errors import bad_value

_WORD = re.compile(r"((?:\+\+|\+|~)?)([A-Za-z_][\w.-]*)=(.*)", re.DOTALL | re.ASCII)
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
#: Text that Hydra reads unchanged without quotes.
_PLAIN = re.compile(r"(?:[A-Za-z_/]|\.{1,2}/)[\w./-]*", re.ASCII)
_RESERVED = re.compile(r"null|true|false|nan|inf", re.IGNORECASE)
_FUNCTION = re.compile(r"([a-z_]+)\s*\((.*)\)", re.DOTALL)
#: Hydra's functions of several values, and its functions whose arguments are not text.
_CHOICES = ("choice", "shuffle", "sort")
_OTHER_FUNCTIONS = ("range", "interval")
_NAMED_ARGUMENT = re.compile(r"(?:list|reverse|shuffle)\s*=.*", re.DOTALL)


def keep_text(words: Iterable[str], sweep: bool = False) -> list[str]:
    """Return words that Hydra reads as typed: values of text keys are quoted where needed.

    ``'…'`` and ``"…"`` around a value are Hydra's quotes, and not part of the text. An optional key
    is null if its value is ``null`` or empty. ``${…}`` stays an interpolation. ``\\${…}`` is text.

    Args:
        sweep: whether a comma separates the values of several runs (``-m``). If false, a comma is
            part of the text.

    Raises:
        UserError: a word is not UTF-8, or has text inside ``{…}`` that Hydra reads as another type.
    """
    return [_kept(word, sweep) for word in words]


def unquoted(word: str) -> str:
    """Return a word of `keep_text` as a user can type it, without the quotes that were added."""
    found = _WORD.fullmatch(word)
    if not found or not kind_of(found[2]):
        return word
    value = OverridesParser.create().parse_override(word).value()
    typed = _text(value)
    if isinstance(value, list):
        texts = map(_text, value)
        typed = f"[{','.join(one if list(split(one)) == [one] else quoted(one) for one in texts)}]"
    plain = f"{found[1]}{found[2]}={typed}"
    return plain if keep_text([plain]) == [word] else word


def quoted(text: str) -> str:
    """Return the text in quotes, or without quotes if Hydra reads it as the same text."""
    if _PLAIN.fullmatch(text) and not _RESERVED.fullmatch(text):
        return text
    return QuotedString(text, Quote.single).with_quotes()


def read_text(typed: str) -> str:
    """Return the typed text without Hydra's quotes around it."""
    typed_alone = typed.strip()
    if not _QUOTED.fullmatch(typed_alone):
        return typed
    value: Any = OverridesParser.create().parse_override(f"key={typed_alone}").value()
    return value


def split(values: str, brackets: bool = False) -> Iterator[str]:
    """Yield the values between commas. A comma in quotes or in ``${…}`` separates nothing.

    Args:
        brackets: whether commas in ``[…]`` are ignored too.
    """
    start = at = depth = 0
    while at < len(values):
        begins = not values[start:at].strip(" \t[")
        if begins and (found := _QUOTED.match(values, at)):
            at = found.end()
            continue
        if values.startswith("${", at):
            depth += 1
            at += 2
            continue
        character = values[at]
        depth += {"[": brackets, "]": -brackets, "}": -1}.get(character, 0)
        depth = max(depth, 0)
        if character == "," and not depth:
            yield values[start:at].strip()
            start = at + 1
        at += 1
    yield values[start:].strip()


def _kept(word: str, sweep: bool) -> str:
    refuse_bytes(word)
    found = _WORD.fullmatch(word)
    if not found:
        return word
    sign, key, value = found.groups()
    kind = kind_of(key)
    if kind:
        found = _FUNCTION.fullmatch(value.strip()) if sweep else None
        if found and found[1] == "glob":  # Hydra expands a glob only over a group's options
            raise bad_value(
                key, value, "the values: glob is for the options of a group", f"Write {key}=A,B."
            )
        return f"{sign}{key}={_value(value, kind, sweep)}"
    if value.lstrip().startswith("{") and holds_text(key):
        _refuse_other_than_text(word, key)
    return word


def refuse_bytes(word: str) -> None:
    """Refuse a word of the command line that is not UTF-8.

    Raises:
        UserError: the word is not UTF-8.
    """
    try:
        word.encode()
    except UnicodeEncodeError:
        raise bad_value(
            "command line",
            ascii(word),
            "text in UTF-8",
            "rename the file or folder, or set LC_ALL=C.UTF-8",
        ) from None


def _value(typed: str, kind: Kind, sweep: bool) -> str:
    if not sweep:
        return _list(typed, kind) if kind.several else _scalar(typed, kind.optional)
    return _swept(typed.strip(), kind)


def _swept(typed: str, kind: Kind, inside: bool = False) -> str:
    """Quote the values of a sweep (``-m``, one value per run), so that Hydra reads them as typed.

    Args:
        inside: whether the values are an argument of a Hydra function. If true, ``choice(…)`` is
            kept. If false, its values are listed without it.
    """
    found = _FUNCTION.fullmatch(typed)
    if found and found[1] in _OTHER_FUNCTIONS:
        return typed
    if found and found[1] == "tag":
        *tags, last = split(found[2], brackets=True)
        return (
            typed
            if "(" in " ".join(tags)
            else f"tag({','.join([*tags, _swept(last, kind, True)])})"
        )
    if found and found[1] in _CHOICES:
        values = list(_arguments(found[2]))
        if found[1] == "choice" and len(values) > 1 and not inside:
            return ",".join(_value(one, kind, False) for one in values)
        return f"{found[1]}({','.join(_argument(one, kind) for one in values)})"
    values = list(split(typed, brackets=kind.several))
    if len(values) > 1 and not all(values):
        return typed  # Hydra refuses it
    return ",".join(_value(one, kind, False) for one in values)


def _arguments(typed: str) -> Iterator[str]:
    """Yield the values as `split` does. A function of several values is one argument."""
    nested = _FUNCTION.fullmatch(typed.strip())
    if nested and nested[1] in (*_CHOICES, "tag"):
        yield typed.strip()
    else:
        yield from split(typed, brackets=True)


def _argument(typed: str, kind: Kind) -> str:
    """Return one argument of a function.

    Hydra's function removes one pair of quotes before Hydra reads the value again, so a text may
    need two pairs.
    """
    nested = _FUNCTION.fullmatch(typed)
    if _NAMED_ARGUMENT.fullmatch(typed):
        return typed
    if nested and nested[1] in _CHOICES:
        return _swept(typed, kind, True)
    value = _value(typed, kind, False)
    if kind.several or not _QUOTED.fullmatch(value):
        return value
    text = read_text(value)
    within = text if _QUOTED.fullmatch(text) else quoted(text)
    return QuotedString(within, Quote.double).with_quotes()


def _scalar(typed: str, optional: bool) -> str:
    alone = typed.strip()
    if not typed:
        return "null" if optional else typed
    if alone.lower() == "null" or _QUOTED.fullmatch(alone):
        return alone
    return quoted(typed)


def _list(typed: str, kind: Kind) -> str:
    alone = typed.strip()
    if not alone or alone.lower() == "null":
        return _scalar(typed, kind.optional)
    if alone.startswith("${") and alone.endswith("}"):
        return alone  # an interpolation of a whole list
    if not (alone.startswith("[") and alone.endswith("]")):
        return f"[{_element(typed)}]"
    inside = list(split(alone[1:-1]))
    if inside == [""]:
        return "[]"
    return alone if not all(inside) else f"[{','.join(map(_element, inside))}]"


def _element(typed: str) -> str:
    """Return an element of a list. Elements are never null."""
    return typed if _QUOTED.fullmatch(typed.strip()) else quoted(typed)


def _text(value: Any) -> str:
    if isinstance(value, QuotedString):
        return value.text
    return "null" if value is None else str(value)


def _refuse_other_than_text(word: str, group: str) -> None:
    """Refuse ``group={key: value}`` in which Hydra would read a text value as another type.

    Hydra reads 2024_01 there as a number, and the typed characters are lost.
    """
    try:
        value = OverridesParser.create().parse_override(word).value()
    except HydraException:
        return  # Hydra reports the error
    for key, one in _leaves(value, f"{group}."):
        kind = kind_of(key)
        if kind and one is not None and not isinstance(one, str | QuotedString):
            raise bad_value(key, f"{one} inside of {{…}}", "text", f"write {key}=… alone")


def _leaves(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for name, one in value.items() if isinstance(value, dict) else ():
        key = f"{prefix}{_text(name)}"
        if isinstance(one, dict):
            yield from _leaves(one, f"{key}.")
        elif isinstance(one, list):
            yield from ((key, element) for element in one)
        else:
            yield key, one
