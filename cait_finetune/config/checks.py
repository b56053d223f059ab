"""Checks of configuration values. Each error states the full key, the value and the expected values."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any, TypeVar, cast

from cait_finetune.config.meanings import choice_for
from cait_finetune.config.places import expanded_path
from cait_finetune.errors import bad_value, suggest

_T = TypeVar("_T")


def given(value: _T | None) -> _T:
    """Return the value, typed without `None`. An earlier check has refused null."""
    return cast("_T", value)


def within(
    key: str, value: float | None, low: float, high: float = math.inf, *, open_high: bool = False
) -> None:
    """Refuse a number outside the range from `low` to `high`; accept `None`.

    Args:
        open_high: True: refuse `high` itself too.

    Raises:
        UserError: the number is outside the range, infinite or NaN.
    """
    if value is None:
        return
    above = value >= high if open_high else value > high
    if not (math.isfinite(value) and low <= value) or above:
        bracket = ")" if open_high or high == math.inf else "]"
        raise bad_value(key, value, f"a number in [{low:g}, {high:g}{bracket}")


def one_of(key: str, value: str, options: tuple[str, ...]) -> None:
    if value in options:
        return
    meant = choice_for(str(value), options)
    hint = f"did you mean {key}={meant}?" if meant else suggest(value, options)
    raise bad_value(key, repr(value), f"one of {', '.join(options)}", hint)


def one_length(what: str, values: dict[str, Any], prefix: str = "") -> list[str]:
    """Return which of the keys epochs, steps and examples is set, as a list of one key.

    Args:
        what: the configuration group, or a key in it; for messages.
        values: the value of each key, by key.
        prefix: text before ``epochs``, ``steps`` and ``examples`` in the keys.

    Raises:
        UserError: none or several of the keys are set.
    """
    keys = [f"{prefix}{unit}" for unit in ("epochs", "steps", "examples")]
    given = [key for key in keys if values[key] is not None]
    if len(given) != 1:
        group = what.partition(".")[0]
        shown = " beside ".join(f"{group}.{key}={values[key]}" for key in given)
        raise bad_value(
            f"{group}.{given[-1] if given else keys[0]}",
            shown or "nothing",
            f"one of {', '.join(keys)}",
            f"add {group}.{given[0]}=null" if given else "",
        )
    return given


def regular_expression(key: str, value: str | None) -> None:
    try:
        re.compile(value or "")
    except re.error as error:
        raise bad_value(key, repr(value), f"a regular expression ({error})") from error
    if value == "":
        raise bad_value(key, "nothing", "a regular expression",
                        "Set '.' to match every path.")  # fmt: skip


def make_folder(key: str, path: Path) -> Path:
    """Make the folder that a command writes to. Commands call this before any long work.

    Returns:
        The path, with ``~`` expanded.

    Raises:
        UserError: `path` is not on a disk, or the folder cannot be made.
    """
    on_disk(key, path)
    folder = expanded_path(key, path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise bad_value(key, path, f"a folder that can be written ({error.strerror})") from error
    return folder


def utf8_path(key: str, path: Path) -> None:
    """Refuse a path that is not UTF-8, which no report, model or table can name.

    Raises:
        UserError: the path, or the working directory of a relative path, is not UTF-8.
    """
    try:
        str(path.absolute()).encode()
    except UnicodeEncodeError:
        raise bad_value(
            key, ascii(str(path.absolute())), "a path in UTF-8", "Rename the folder"
        ) from None


def on_disk(key: str, path: object) -> None:
    """Refuse a URL such as ``s3://bucket/run``, which would become a local folder ``s3:``.

    Args:
        path: text, or a `Path`, which holds the URL as ``s3:/bucket/run``.

    Raises:
        UserError: `path` is a URL.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(path)):
        raise bad_value(
            key,
            path,
            "a path on a disk",
            "Choose a folder on a disk, or mount the bucket as a folder",
        )
