"""Explain an error of Hydra or OmegaConf in one message."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import get_type_hints

from hydra.errors import OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from cait_finetune import config as configuration
from cait_finetune.config import Config
from cait_finetune.config.advice import advise
from cait_finetune.config.places import data_folder
from cait_finetune.config.suggestions import all_keys, kind_words, unknown_key, unknown_option
from cait_finetune.config.text import kind_of
from cait_finetune.errors import UserError, bad_value, reason, suggest

#: Groups that take several options at once, and keys that hold several numbers.
_SEVERAL = ("logger", "export", "augment.crop_scale", "augment.crop_ratio", "dataset.splits.shares",
            "evaluation.crop_pcts", "model.image_size", "preprocessing.mean", "preprocessing.std")  # fmt: skip
#: The extra that installs each Hydra plugin.
_EXTRAS = {"hydra/sweeper=optuna": "sweep", "hydra/launcher=submitit": "cluster"}


@dataclasses.dataclass(frozen=True)
class Problem:
    """The facts of an error that Hydra or OmegaConf raised.

    Attributes:
        text: the whole message.
        first: first line of the root error, which OmegaConf may have raised.
        key: the key that the error names. `None`: the error names no key.
        known: the valid keys in the group of `key`.
        override: the word that Hydra cannot parse, or an empty string.
    """

    text: str
    first: str
    key: str | None
    known: list[str]
    override: str = ""

    @classmethod
    def of(cls, error: BaseException) -> Problem:
        """Read the error and its cause."""
        inner = error.__cause__ or error.__context__
        cause = inner if isinstance(inner, OmegaConfBaseException) else error
        first = reason(cause).removeprefix("Merge error: ")
        key = getattr(cause, "full_key", None) or getattr(error, "full_key", None)
        kind = getattr(cause, "object_type", None)
        known = list(getattr(kind, "__dataclass_fields__", _fields("Config")))
        if isinstance(error, OverrideParseException):
            return cls(str(error), f"Cannot parse: {first}", key, known, error.override)
        return cls(str(error), first, key, known)


def explain(error: BaseException) -> str:
    """Return one message for an error of Hydra or OmegaConf.

    If a `UserError` caused the error, return the message of the `UserError`.
    """
    if ours := next((one for one in _causes(error) if isinstance(one, UserError)), None):
        return str(ours)
    problem = Problem.of(error)
    for pattern, answer in RULES:
        if match := re.search(pattern, problem.first) or re.search(pattern, problem.text):
            return str(answer(match, problem))
    key, first = problem.key, problem.first
    return f"{key}: {first}" if key and key not in first else first


Answer = Callable[[re.Match[str], Problem], UserError]


def _cannot_parse(match: re.Match[str], problem: Problem) -> UserError:
    name, _, value = problem.override.partition("=")
    if name in _SEVERAL and (listed := re.match(r"\(([\d., ]+)\)$", value)):  # Python's brackets
        hint = f"Write '{name}=[{listed[1].replace(' ', '')}]'"
        return bad_value(name, value, kind_words(name), hint)
    hint = (
        f"A value with brackets or commas needs its own quotes: '{name}=\"{value}\"'"
        if value
        else f"Give the key a value: {name}=…"
    )
    return bad_value("command line", repr(problem.override), f"key=value ({match[1]})", hint)


def _unknown_key(match: re.Match[str], problem: Problem) -> UserError:
    key = problem.key or match[1]
    if key.partition(".")[0] != "hydra":
        return unknown_key(key)
    optuna = (
        match[2] == "BasicSweeperConf" and "For a key of Optuna's sweeper add hydra/sweeper=optuna"
    )
    group = key.rpartition(".")[0]
    near = suggest(f"{group}.{match[1]}", [f"{group}.{one}" for one in problem.known])
    return bad_value(key, "an unknown key", _listed(problem.known), optuna or near)


def _no_plugin(match: re.Match[str], problem: Problem) -> UserError:
    return _plugin_not_found(match[1], match[2], problem.text)


def _no_option(match: re.Match[str], problem: Problem) -> UserError:
    options = sorted(path.stem for path in (data_folder("conf") / match[1]).glob("*.yaml"))
    return unknown_option(match[1], match[2], options)


def _no_group(match: re.Match[str], problem: Problem) -> UserError:
    groups = [path.name for path in data_folder("conf").iterdir() if path.is_dir()]
    if match[1] in groups:
        inside = next(one for one in all_keys() if one.startswith(f"{match[1]}."))
        hint = f"Leave {match[1]}= out, or set single keys, as in {inside}=…"
        if match[1] == "model":
            hint = "Leave model= out. Another model is a new run"
        return bad_value(match[1], "an option beside a run", "none: the run has its own", hint)
    return unknown_key(match[1])


def _wrong_type(match: re.Match[str], problem: Problem) -> UserError:
    key = problem.key or "value"
    several = match[1].startswith("[") or re.search(r"\d[ -]\d", match[1])
    hint = f"For one run per value write -m {key}=A,B" if several else ""
    if match[1] == "auto":
        hint = "Write a number: the program does not choose it"
    return bad_value(key, repr(match[1]), kind_words(key, match[2]), hint)


def _not_optional(match: re.Match[str], problem: Problem) -> UserError:
    return bad_value(problem.key or match[1], "null", "a value")


def _value_for_keys(match: re.Match[str], problem: Problem) -> UserError:
    key = problem.key or next(iter(_keys_of(match[1])), "value")
    inside = f"{key}.{_fields(match[1])[0]}"
    weights = key == "checkpoint" and Path(match[2]).suffix and advise("model.weights", match[2])
    hint = f"To start from weights write {weights}" if weights else ""
    expected = f"no value: {key} is a group; set its keys, as in {inside}=…"
    return bad_value(key, match[2], expected, hint)


def _no_interpolation(match: re.Match[str], problem: Problem) -> UserError:
    hint = r"Write \${…} for the characters themselves."
    return bad_value(problem.key or "value", f"${{{match[1]}}}", "a key of the configuration", hint)


def _not_text(match: re.Match[str], problem: Problem) -> UserError:
    return bad_value(problem.key or "value", match[1], "one text")


def _not_list(match: re.Match[str], problem: Problem) -> UserError:
    return bad_value(problem.key or "value", "one value", f"a list: '{problem.key}=[…]'")


def _other_structure(match: re.Match[str], problem: Problem) -> UserError:
    if problem.key in _keys_of(None):
        return bad_value(problem.key, "a list", f"keys and values, as in {problem.key}.KEY=…")
    return bad_value(problem.key or "value", "keys and values", "a list")


def _no_variable(match: re.Match[str], problem: Problem) -> UserError:
    variable = match[1]
    return bad_value(
        problem.key or "value",
        f"${{oc.env:{variable}}}, which is not set",
        "an environment variable that is set",
        f"Set {variable}, or write ${{oc.env:{variable},DEFAULT}}.",
    )


def _several_values(match: re.Match[str], problem: Problem) -> UserError:
    if match[1] == "distribution.devices":
        count = match[2].count(",") + 1
        hint = f"Write distribution=mirrored distribution.devices={count}: a number, not names"
        return bad_value(match[1], match[2], "one number of devices", hint)
    hint = "Add -m for one run per value"
    first, *others = match[2].split(",")
    if all(one == first for one in others):
        hint = f"Write {match[1]}={first}"
    if match[1] in _SEVERAL or ((known := kind_of(match[1])) is not None and known.several):
        hint += f"; for one run with all values write '{match[1]}=[{match[2]}]'"
    return bad_value(match[1], match[2], "one value", hint)


def _range_without_sweep(match: re.Match[str], problem: Problem) -> UserError:
    return bad_value(match[1], match[2], "one value", "Add -m for one run per value")


def _deletion(match: re.Match[str], problem: Problem) -> UserError:
    key = problem.key or "value"
    return bad_value(key, f"~{key}", "a value", "Leave the key out for its default")


def _no_recipe(match: re.Match[str], problem: Problem) -> UserError:
    recipes = sorted(path.stem for path in data_folder("recipes").glob("*.yaml"))
    searched = re.findall(r"path=file://(.*)", problem.text)
    ours = {str(data_folder(name)) for name in ("conf", "recipes")}
    own = sorted(
        path.stem for one in searched if one not in ours for path in Path(one).glob("*.yaml")
    )
    known = [*own, "config", *recipes]
    hint = suggest(match[1], known) or "For a recipe of your own add -cd FOLDER"
    if Path(f"{match[1]}.yaml").is_file() and match[1] not in known:
        hint = f"did you mean -cd . -cn {match[1]}?"
    return bad_value("-cn", match[1], _listed(list(dict.fromkeys(known))), hint)


#: Messages of Hydra 1.3 and OmegaConf 2.3, and the function that explains each. The first match applies.
RULES: list[tuple[str, Answer]] = [
    (r"^Cannot parse: (.*)", _cannot_parse),
    (r"^Key '(.+)' (?:is )?not in (?:struct|'(\w+)')", _unknown_key),
    (r"In '.*': Could not find '(hydra/\w+)/([^']+)'", _no_plugin),
    (r"In '.*': Could not (?:find|load) '(\w+)/([^']*)'", _no_option),
    (r"^Could not override '([^']+)'", _no_group),
    (r"^Value '(.*?)' .*(?:converted to|not a valid) (\w+)", _wrong_type),
    (r"^field '([\w.]+)' is not Optional", _not_optional),
    (r"^.* is not a subclass of (\w+)\. value: (.*)", _value_for_keys),
    (r"^Interpolation key '(.*)' not found", _no_interpolation),
    (r"^Cannot convert '\w+' to string: '(.*)'", _not_text),
    (r"^Invalid value assigned: \w+ is not a ListConfig", _not_list),
    (r"^Cannot merge \w+ with \w+", _other_structure),
    (r"Environment variable '(.+)' not found", _no_variable),
    (r"^Ambiguous value for argument '([^=]+)=(.*)'", _several_values),
    (r"^Sweep parameters '([^=]+)=(.*)' requires", _range_without_sweep),
    (r"does not support deletion", _deletion),
    (r"^Cannot find primary config '([^']+)'", _no_recipe),
]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _plugin_not_found(group: str, name: str, error: str) -> UserError:
    """Return the error for an unknown option of one of Hydra's own groups.

    If the extra that provides the option is not installed, the error names the extra.
    """
    options = re.findall(r"^\t(\w+)$", error, re.MULTILINE)
    for start, extra in _EXTRAS.items():
        installed = any(f"{group}={option}".startswith(start) for option in options)
        if f"{group}={name}".startswith(start) and not installed:
            hint = f"it is not installed: pip install 'cait-finetune[{extra}]'"
            return bad_value(group, name, _listed(options), hint)
    return bad_value(group, name, _listed(options), suggest(name, options))


def includes_itself() -> UserError:
    """Return the error for a user's file that includes our file of the same name, and therefore itself."""
    return bad_value(
        "defaults",
        "a file that includes itself",
        "other files",
        "Rename your file: in -cd DIR it takes the place of ours with the same name.",
    )


def group_without_name(arguments: Iterable[str]) -> UserError:
    """Return the error for a group that was set to a number. Hydra's own error names no group."""
    for group, _, option in (argument.partition("=") for argument in arguments):
        options = sorted(path.stem for path in (data_folder("conf") / group).glob("*.yaml"))
        if group and options and option not in options:
            return unknown_option(group, option, options)
    return bad_value("command line", "a number", "the name of an option, as in group=option")


def _fields(class_name: str) -> list[str]:
    return list(getattr(configuration, class_name).__dataclass_fields__)


def _keys_of(class_name: str | None, schema: type = Config, prefix: str = "") -> Iterator[str]:
    """Yield the keys whose values are objects of a class. `None`: of any dataclass."""
    for name, hint in get_type_hints(schema).items():
        if dataclasses.is_dataclass(hint):
            if class_name in (None, hint.__name__):
                yield prefix + name
            yield from _keys_of(class_name, hint, f"{prefix}{name}.")


def _listed(names: list[str]) -> str:
    return f"one of {', '.join(names)}"
