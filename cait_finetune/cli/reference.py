"""The reference of all keys: type, default, allowed values, meaning, and when a key has an effect.

``--help`` prints it and ``.github/docs/KEYS.md`` holds it. The facts come from `config.keys`,
`config.effect` and the first comment of each file in ``conf/``.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

import hydra
from omegaconf import DictConfig, OmegaConf

from cait_finetune.cli.compose import composing
from cait_finetune.cli.entry import command
from cait_finetune.config import Config
from cait_finetune.config.effect import CONDITIONS, READ_BY
from cait_finetune.config.keys import Declared, declared
from cait_finetune.config.places import data_folder
from cait_finetune.runs.markdown import markdown_table
from cait_tf.variants import VARIANTS

#: The command whose defaults the reference shows: a folder of images and a published model.
_USUAL = ("dataset=folder", "model=cait_xxs24_224")
_TYPES = {str: "text", float: "number", int: "integer", bool: "true or false",
          Any: "integer or [integer,integer]"}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Key:
    """One key.

    Attributes:
        name: full name, such as ``train.epochs``.
        default: as the command line writes it. Empty: the user must set the key.
        values: type, allowed values and range in words.
        where: the choices with which the key has an effect. Empty: every choice.
        meaning: what the key means, in a few sentences.
    """

    name: str
    default: str
    values: str
    where: str
    meaning: str


@dataclasses.dataclass(frozen=True)
class Section:
    """One group of keys.

    Attributes:
        name: name of the group. Empty: the keys without a group.
        about: the first paragraph of the group's docstring.
        options: name and meaning of each file in ``conf/NAME``; the default option first.
    """

    name: str
    about: str
    options: dict[str, str]
    keys: list[Key]


@cache
def sections() -> dict[str, Section]:
    """Return all groups by name, in the order of the configuration; keys without a group last."""
    defaults, chosen = _usual()
    found, rest = {}, []
    for name, hint in get_type_hints(Config).items():
        if not dataclasses.is_dataclass(hint):
            rest += list(_keys(Config, "", defaults, only=name))
            continue
        about = (hint.__doc__ or "").strip().split("\n\n")[0]
        keys = list(_keys(hint, f"{name}.", defaults[name]))
        found[name] = Section(name, " ".join(about.split()), _options(name, chosen.get(name)), keys)
    return {**found, "": Section("", "Keys without a group.", {}, rest)}


def schema_keys(schema: type, prefix: str = "") -> list[Key]:
    """Return the keys of a command that has its own dataclass and no files in ``conf/``."""
    return list(_keys(schema, prefix, OmegaConf.structured(schema)))


def _usual() -> tuple[DictConfig, dict[str, str]]:
    """Return the composed defaults, and the chosen option of each group."""
    with composing(None):
        composed = hydra.compose("config", list(_USUAL), return_hydra_config=True)
        return composed, dict(composed.hydra.runtime.choices)


def _options(group: str, default: str | None) -> dict[str, str]:
    """Return name and meaning of each option: the first sentence of the comment at the top of its file."""
    options = {path.stem: _comment(path) for path in (data_folder("conf") / group).glob("*.yaml")}
    if group == "model":
        options = {name: _variant(name, text) for name, text in options.items()}
    first = {default: options.pop(default)} if default in options else {}
    return {**first, **dict(sorted(options.items()))}


def _comment(path: Path) -> str:
    """Return the first sentence of the comment at the top of a file, without a command line in it.

    A full stop and a space end the sentence, so the sentence must not contain ``et al. 2021``.
    """
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line.lstrip("# "))
    return re.split(r"[.:;]? python -m|\. ", " ".join(lines))[0].rstrip(".:")


def _variant(name: str, comment: str) -> str:
    variant = VARIANTS[name]
    facts = f"{variant.parameters / 1e6:.1f} M parameters, {variant.image_size} pixels"
    return f"{facts}. {comment}" if comment else facts


def _keys(schema: Any, prefix: str, defaults: Any, only: str | None = None) -> Iterator[Key]:
    hints = get_type_hints(schema)
    for field in dataclasses.fields(schema):
        hint, rule = hints[field.name], declared(field)
        if only not in (None, field.name):
            continue
        missing = OmegaConf.is_missing(defaults, field.name)
        value = None if missing else defaults[field.name]
        if dataclasses.is_dataclass(hint):
            yield from _keys(hint, f"{prefix}{field.name}.", value)
        else:
            rule = rule or Declared("")
            yield Key(prefix + field.name, "" if missing else shown_value(value),
                      _values(hint, rule), _where(prefix + field.name), rule.meaning)  # fmt: skip


def shown_value(value: Any) -> str:
    """Return a value as the command line writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if OmegaConf.is_list(value) or isinstance(value, list):
        return f"[{','.join(shown_value(one) for one in value)}]"
    return str(value)


def _values(hint: Any, rule: Declared) -> str:
    """Describe the allowed values: ``number, 0 to 1``, ``adamw | sgd`` or ``list of text, or null``."""
    kinds = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    (kind,) = [one for one in kinds if one is not NoneType]
    if rule.takes:
        return rule.takes
    several = get_origin(kind) is list
    text = _TYPES[get_args(kind)[0] if several else kind]
    if rule.choices:
        text = " | ".join(rule.choices)
    elif rule.low is not None:
        text += f", {_range(rule)}"
    text = f"list of {text}" if several else text
    return f"{text}, or null" if NoneType in kinds or kind is Any else text


def _range(rule: Declared) -> str:
    low, high = (
        f"{one:,}" if isinstance(one, int) else f"{one:g}" for one in (rule.low, rule.high)
    )
    if not math.isfinite(rule.high):
        return f"{low} or more"
    return f"{low} to {'below ' if rule.open_high else ''}{high}"


@cache
def _wheres() -> dict[str, str]:
    found: dict[str, list[str]] = {}
    for choice, keys in READ_BY.items():
        for name, options in keys.items():
            found.setdefault(name, []).append(f"{choice}={' or '.join(options)}")
    for condition in CONDITIONS:
        for name in condition.keys:
            found.setdefault(name, []).append(condition.where)
    return {name: " and ".join(conditions) for name, conditions in found.items()}


def _where(name: str) -> str:
    return _wheres().get(name, "")


def document() -> str:
    """Return ``.github/docs/KEYS.md``."""
    parts = [
        "# Keys\n\n",
        "Every key of `cait-finetune`. Write `KEY=VALUE`; `GROUP=OPTION` sets several keys at once. The defaults "
        f"are those of `cait-finetune {' '.join(_USUAL)}`. *Read with …* states with which choices a key has an "
        "effect. `cait-finetune --help GROUP` prints a group.\n\n",
    ]
    for section in sections().values():
        options = "; ".join(f"`{name}`: {text}" for name, text in section.options.items())
        about = f"{section.about} Options: {options}." if options else section.about
        rows = [
            [f"`{one.name}`", f"`{one.default}`" if one.default else "", one.values,
             one.meaning + (f" Read with {one.where}." if one.where else "")]
            for one in section.keys
        ]  # fmt: skip
        table = markdown_table(["key", "default", "values", "meaning"], rows)
        parts.append(f"## {section.name or 'Without a group'}\n{about}\n{table}")
    return "".join(parts)


def main() -> None:
    """Print the document."""
    with command("cait_finetune"):
        print(document(), end="")


if __name__ == "__main__":
    main()
