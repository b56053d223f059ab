"""Errors of Hydra's and OmegaConf's, explained in one message of ours."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from typing import get_type_hints

from hydra.errors import OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from cait_finetune import config as configuration
from cait_finetune.config import Config
from cait_finetune.config.sources import data_folder
from cait_finetune.errors import UserError, bad_value, suggest

#: Which extra brings a plugin of Hydra's.
_EXTRAS = {"hydra/sweeper=optuna": "sweep", "hydra/launcher=submitit": "cluster"}


def explain(error: BaseException) -> str:
    """One message of ours for an error of Hydra's or OmegaConf's."""
    if ours := next((one for one in _causes(error) if isinstance(one, UserError)), None):
        return str(ours)
    inner = error.__cause__ or error.__context__
    cause = inner if isinstance(inner, OmegaConfBaseException) else error
    first = str(cause).strip().splitlines()[0].removeprefix("Merge error: ")
    key = getattr(cause, "full_key", None) or getattr(error, "full_key", None)
    if isinstance(error, OverrideParseException):
        name, _, value = error.override.partition("=")
        hint = (
            f"a value with brackets or commas in it needs quotes of its own: '{name}=\"{value}\"'"
            if value
            else f"give it a value: {name}=…"
        )
        return str(bad_value("command line", repr(error.override), f"key=value ({first})", hint))
    if match := re.match(r"Key '(.+)' (?:is )?not in (?:struct|'(\w+)')", first):
        known = list(getattr(cause.object_type, "__dataclass_fields__", _fields("Config")))
        optuna = match[2] == "BasicSweeperConf" and "with Optuna: add hydra/sweeper=optuna"
        hint = optuna or suggest(match[1], known)
        return str(bad_value(key or match[1], "an unknown key", _listed(known), hint))
    if match := re.search(r"In '.*': Could not find '(hydra/\w+)/([^']+)'", str(error)):
        return str(_plugin_not_found(match[1], match[2], str(error)))
    if match := re.search(r"In '.*': Could not (?:find|load) '(\w+)/([^']*)'", str(error)):
        options = sorted(path.stem for path in (data_folder("conf") / match[1]).glob("*.yaml"))
        got = match[2] or "nothing"
        return str(bad_value(match[1], got, _listed(options), suggest(match[2], options)))
    if match := re.match(r"Could not override '([^']+)'", str(error)):
        groups = [path.name for path in data_folder("conf").iterdir() if path.is_dir()]
        if match[1] in groups:
            got, expected = "a choice", "its keys: a run's config.yaml has values and no choices"
            return str(bad_value(match[1], got, expected, f"Write {match[1]}.KEY=…"))
        known = groups + _fields("Config")
        return str(bad_value(match[1], "an unknown key", _listed(known), suggest(match[1], known)))
    if match := re.match(r"Value '(.*?)' .*(?:converted to|not a valid) (\w+)", first):
        return str(bad_value(key or "value", repr(match[1]), f"a value of type {match[2]}"))
    if match := re.match(r"field '([\w.]+)' is not Optional", first):
        return str(bad_value(key or match[1], "null", "a value"))
    if match := re.match(r".* is not a subclass of (\w+)\. value: (.*)", first):
        key = key or next(iter(_keys_of(match[1])), "value")
        inside = f"{key}.{_fields(match[1])[0]}"
        return str(bad_value(key, match[2], f"no value of its own: set one inside, as {inside}=…"))
    if match := re.match(r"Interpolation key '(.*)' not found", first):
        hint = r"Write \${…} for the characters themselves."
        return str(
            bad_value(key or "value", f"${{{match[1]}}}", "a key of the configuration", hint)
        )
    if match := re.match(r"Cannot convert '\w+' to string: '(.*)'", first):
        return str(bad_value(key, match[1], "one text"))
    if re.match(r"Invalid value assigned: \w+ is not a ListConfig", first):
        return str(bad_value(key, "one value", f"a list: '{key}=[…]'"))
    if match := re.match(r"(?:Invalid (?:type|value) assigned|Cannot assign) *:? *(.*)", first):
        return str(bad_value(key or "value", match[1], "a value of the key's own kind"))
    if match := re.match(r"Ambiguous value for argument '([^=]+)=(.*)'", first):
        hint = f"a run for each: add -m; all in one: '{match[1]}=[{match[2]}]'"
        return str(bad_value(match[1], match[2], "one value", hint))
    if match := re.match(r"Cannot find primary config '([^']+)'", first):
        recipes = sorted(path.stem for path in data_folder("recipes").glob("*.yaml"))
        return str(
            bad_value("-cn", match[1], _listed(["config", *recipes]), suggest(match[1], recipes))
        )
    return f"{key}: {first}" if key and key not in first else first


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _plugin_not_found(group: str, name: str, error: str) -> UserError:
    """One of Hydra's own groups has no such option, perhaps as its package is not installed."""
    options = re.findall(r"^\t(\w+)$", error, re.MULTILINE)
    for start, extra in _EXTRAS.items():
        installed = any(f"{group}={option}".startswith(start) for option in options)
        if f"{group}={name}".startswith(start) and not installed:
            hint = f"it is not installed: pip install 'cait-finetune[{extra}]'"
            return bad_value(group, name, _listed(options), hint)
    return bad_value(group, name, _listed(options), suggest(name, options))


def includes_itself() -> UserError:
    """A file of the user's that includes ours by the name that both have."""
    return bad_value(
        "defaults",
        "a file that includes itself",
        "other files",
        "Rename your file: in -cd DIR it takes the place of ours with the same name.",
    )


def group_without_name(arguments: Iterable[str]) -> UserError:
    """A group was given a number, which Hydra refuses without saying which group it was."""
    for group, _, option in (argument.partition("=") for argument in arguments):
        options = sorted(path.stem for path in (data_folder("conf") / group).glob("*.yaml"))
        if group and options and option not in options:
            return bad_value(group, option, _listed(options))
    return bad_value("command line", "a number", "the name of an option, as in group=option")


def _fields(class_name: str) -> list[str]:
    return list(getattr(configuration, class_name).__dataclass_fields__)


def _keys_of(class_name: str, schema: type = Config, prefix: str = "") -> Iterator[str]:
    """The keys whose values are objects of that class."""
    for name, hint in get_type_hints(schema).items():
        if dataclasses.is_dataclass(hint):
            if hint.__name__ == class_name:
                yield prefix + name
            yield from _keys_of(class_name, hint, f"{prefix}{name}.")


def _listed(names: list[str]) -> str:
    return f"one of {', '.join(names)}"
