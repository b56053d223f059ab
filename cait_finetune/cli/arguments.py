"""Read ``key=value`` words without Hydra, and check them against a dataclass."""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cait_finetune.config.advice import advise
from cait_finetune.config.keys import check_keys, declared
from cait_finetune.config.kinds import type_words
from cait_finetune.config.suggestions import all_keys
from cait_finetune.config.text import kind_of_type
from cait_finetune.config.words import read_text, refuse_bytes, split
from cait_finetune.errors import UserError, bad_value, reason

#: Names that other programs give to the keys of our commands.
_ALIASES = {
    "source": ("images",),
    "input": ("images",),
    "path": ("images", "run"),
    "file": ("images", "source"),
    "format": ("export",),
    "weights": ("model", "source"),
    "checkpoint": ("model", "run", "source"),
    "ckpt": ("model", "run", "source"),
    "resume": ("run",),
    "dir": ("run", "output"),
    "save": ("output", "out"),
    "topk": ("top_k",),
    "batch": ("batch_size",),
}


def read_keys(arguments: list[str], schema: type, prefix: str = "") -> Any:
    """Return an object of `schema` with the values of the words.

    Args:
        arguments: ``key=value`` words.
        schema: a dataclass. Its fields are the known keys; a field without a default is required.
        prefix: prefix of the keys on the command line, such as ``sweep.``. Only messages use it.

    Raises:
        UserError: a key is unknown, has a wrong value, or lacks a value.
    """
    kinds = _kinds(schema)
    known = list(kinds)
    say_replaced(arguments)
    for argument in arguments:
        key = argument.partition("=")[0]
        if key not in known:
            raise unknown_key(argument, known, prefix)
        if "=" not in argument:
            raise bad_value(key, "nothing", "a value", f"write {key}=…")
    values = [_value(argument, kinds) for argument in arguments]
    try:
        config = OmegaConf.merge(OmegaConf.structured(schema), *values)
    except OmegaConfBaseException as error:
        key = (error.full_key or "").partition("[")[0]  # without the index of a list element
        if key not in kinds:
            raise UserError(reason(error)) from error
        words = dict(argument.partition("=")[::2] for argument in arguments)
        raise bad_value(
            prefix + key,
            repr(words[key]),
            type_words(kinds[key]),
        ) from error
    for key in known:
        if OmegaConf.is_missing(config, key):
            rule = declared(schema.__dataclass_fields__[key]) if "." not in key else None
            meaning = (
                f"a value: {rule.meaning[0].lower()}{rule.meaning[1:].rstrip('.')}"
                if rule
                else "a value"
            )
            raise bad_value(
                f"{prefix}{key}", "nothing", meaning, f"add {prefix}{key}=… to the command"
            )
    values = OmegaConf.to_object(config)
    check_keys(values, prefix.removesuffix("."))
    return values


def say_replaced(words: Iterable[str]) -> None:
    """Print a line for each value that a later word replaces: the last one counts, as in Hydra."""
    typed: dict[str, str] = {}
    for word in words:
        key, sign, _ = word.partition("=")
        key = key.lstrip("+")
        if sign and typed.get(key, word) != word:
            both = f"{key}=[{typed[key].partition('=')[2]},{word.partition('=')[2]}]"
            hint = f"; for both write {shlex.quote(both)}" if key == "images" else ""
            print(f"cait_finetune: {word} replaces {typed[key]}{hint}", file=sys.stderr, flush=True)
        if sign and not word.startswith("-"):
            typed[key] = word


def unknown_key(argument: str, known: list[str], prefix: str = "") -> UserError:
    """Return the error for a word whose key is unknown.

    For a path without a key, the error suggests a key: ``run`` for a run's directory, otherwise
    ``images``, or the first key of a command without ``images``.
    """
    key, sign, value = argument.partition("=")
    if not sign and ("/" in argument or Path(argument).exists()):
        first = "images" if "images" in known else known[0]
        if "run" in known and (Path(argument) / "config.yaml").is_file():
            first = "run"
        return bad_value(
            argument, "no key", "key=value", f"write {advise(prefix + first, argument)}"
        )
    if not sign and argument.endswith("]"):
        hint = "Leave out the spaces in a list, or put the word in quotes"
        return bad_value(argument, "the end of a list", "key=value", hint)
    expected = f"one of {', '.join(known)}"
    bare = key.lstrip("-").replace("-", "_")
    if bare != key:
        near = next(iter(difflib.get_close_matches(bare, known, 1)), "KEY")
        return bad_value(key, "an option", "key=value without dashes", f"Write {prefix}{near}=…")
    group, _, leaf = key.rpartition(".")
    beside = {one.rpartition(".")[2]: one for one in known if one.rpartition(".")[0] == group}
    near = [beside[name] for name in difflib.get_close_matches(leaf, beside, 3)]
    hint = f"did you mean {' or '.join(near)}?" if near else ""
    if meant := next((one for one in _ALIASES.get(key, ()) if one in known), None):
        hint = f"did you mean {advise(prefix + meant, value) if value else meant}?"
    elif key in all_keys():
        hint = f"Leave {key} out: this command does not read the keys of training"
    elif key == "run" and {"model", "classes"} <= set(known):  # maps
        hint = "For a run write cait-finetune predict run=RUN images=… maps=DIR"
    return bad_value(prefix + key, "an unknown key", expected, hint)


def helped(
    arguments: list[str], text: str | None, schema: type | None = None, prefix: str = ""
) -> bool:
    """Print the help if the words contain ``--help`` or ``-h``.

    Args:
        text: the text to print first: the module's docstring.
        schema: a dataclass, whose docstring and keys follow. `None`: print the text alone.
        prefix: prefix of the keys on the command line.

    Returns:
        Whether the help was printed.
    """
    if not {"-h", "--help"} & set(arguments):
        return False
    print(inspect.cleandoc(text or ""))
    if schema:
        from cait_finetune.cli.help import show_keys
        from cait_finetune.cli.reference import schema_keys
        from cait_finetune.runtime.console import plain_console

        print(f"\n{inspect.cleandoc(schema.__doc__ or '')}\n")
        show_keys(schema_keys(schema, prefix), plain_console())
    return True


def _kinds(schema: type, prefix: str = "") -> dict[str, Any]:
    """Return the type of each key. Fields of a nested dataclass have a dot in their key."""
    found: dict[str, Any] = {}
    for name, kind in get_type_hints(schema).items():
        if dataclasses.is_dataclass(kind):
            found |= _kinds(kind, f"{prefix}{name}.")
        else:
            found[prefix + name] = kind
    return found


def _required(kind: Any) -> Any:
    """Return a type without ``| None``."""
    others = [one for one in get_args(kind) if one is not type(None)]
    return others[0] if isinstance(kind, UnionType) and len(others) == 1 else kind


def _is_list(kind: Any) -> bool:
    return get_origin(_required(kind)) is list


def _value(argument: str, kinds: dict[str, Any]) -> DictConfig:
    """Return ``key=value`` as a configuration of one key.

    The value of a text key is not parsed as YAML, in which ``*.jpg`` is an error and the folder
    ``2024`` a number. Hydra's quotes around a text are removed. A list key takes ``[a,b]`` as two
    elements, and a value without brackets as one.
    """
    refuse_bytes(argument)
    key, _, word = argument.partition("=")
    several = word.startswith("[") and word.endswith("]")
    if kind := kind_of_type(kinds[key]):
        if not kind.several or (kind.optional and word in ("", "null")):
            return _nested(key, None if word in ("", "null") else read_text(word))
        return _nested(key, _texts(word[1:-1]) if several else [read_text(word)])
    if _is_list(kinds[key]) and not several and word != "null":
        return OmegaConf.from_cli([f"{key}=[{word}]"])
    return OmegaConf.from_cli([argument])


def _nested(key: str, value: Any) -> DictConfig:
    for part in reversed(key.split(".")):
        value = {part: value}
    return OmegaConf.create(value)


def _texts(listed: str) -> list[str]:
    return [read_text(word) for word in split(listed) if word]
