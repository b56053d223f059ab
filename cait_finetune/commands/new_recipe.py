"""``cait-finetune new_recipe NAME KEY=VALUE …``: write the words of a command to a recipe file.

The command checks the words as a run does, and writes ``NAME.yaml`` into the working directory. A
comment after each key explains the key. ``cait-finetune -cd . -cn NAME`` runs the recipe. With
``-cn OTHER`` among the words, the new recipe begins with the recipe OTHER.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from cait_finetune.cli.arguments import helped
from cait_finetune.cli.compose import configure
from cait_finetune.cli.entry import command
from cait_finetune.cli.reference import sections
from cait_finetune.config.places import data_folder
from cait_finetune.config.suggestions import all_groups
from cait_finetune.config.words import keep_text, read_text
from cait_finetune.errors import bad_value

_NAME = re.compile(r"[\w.-]+")


def new_recipe(name: str, words: Sequence[str]) -> Path:
    """Write the recipe, and return its path.

    Raises:
        UserError: the name is no file name, or the name of one of our recipes or options; the file
            exists; or the words are not those of a run.
    """
    name = name.removesuffix(".yaml")
    ours = [path.stem for kind in ("conf", "recipes") for path in data_folder(kind).glob("*.yaml")]
    if name in ours:
        raise bad_value(
            "new_recipe", name, "a name that no recipe of ours has", "Choose another name."
        )
    if not _NAME.fullmatch(name):
        raise bad_value("new_recipe", name or "nothing", "a name of letters, digits, _, - and .",
                        "cait-finetune new_recipe birds dataset=folder …")  # fmt: skip
    path = Path(f"{name}.yaml")
    if path.exists():
        raise bad_value("new_recipe", path, "the name of a new file", "Choose another name.")
    words, base = _split_base(words)
    configure(*words, recipe=base)
    path.write_text(_document(name, words, base), encoding="utf-8")
    return path


def _split_base(words: Sequence[str]) -> tuple[list[str], str]:
    left, base = list(words), "config"
    if "-cn" in left:
        place = left.index("-cn")
        base = left[place + 1] if place + 1 < len(left) else ""
        del left[place : place + 2]
    return left, base


def _document(name: str, words: Sequence[str], base: str) -> str:
    """Return the YAML: options of groups in the defaults list, keys below, with their meaning."""
    meanings = {key.name: key.meaning for section in sections().values() for key in section.keys}
    typed = {
        key: value for key, _, value in (word.partition("=") for word in words)
    }  # the last value of a key counts
    options = [(key, value) for key, value in typed.items() if key in all_groups()]
    keys = [(key, value) for key, value in typed.items() if key not in all_groups()]
    lines = [
        f"# cait-finetune -cd . -cn {name}",
        "# Result: not measured yet.",
        "defaults:",
        f"  - {base}",
        *(f"  - override {group}: {read_text(option)}" for group, option in options),
        "  - _self_",
    ]
    opened: list[str] = []  # the groups of the previous key
    for key, value in sorted(keys):
        *groups, leaf = key.split(".")
        common = 0
        while common < min(len(groups), len(opened)) and groups[common] == opened[common]:
            common += 1
        lines += [f"{'  ' * depth}{groups[depth]}:" for depth in range(common, len(groups))]
        meaning = meanings.get(key, "")
        lines.append(
            f"{'  ' * len(groups)}{leaf}: {_yaml(key, value)}"
            + (f"  # {meaning}" if meaning else "")
        )
        opened = groups
    return "\n".join(lines) + "\n"


def _yaml(key: str, value: str) -> str:
    """Return a typed value as YAML on one line."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    (word,) = keep_text([f"{key}={value}"])
    parsed: Any = OverridesParser.create().parse_override(word).value()
    text = yaml.safe_dump(_plain(parsed), default_flow_style=True, width=10_000, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def _plain(value: Any) -> Any:
    """Replace Hydra's quoted strings by text."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return getattr(value, "text", value)


def main() -> None:
    """Entry point. On a user's mistake, print one message and exit with status 1."""
    with command("cait_finetune new_recipe"):
        if not helped(sys.argv[1:], __doc__):
            name, *words = sys.argv[1:] or [""]
            path = new_recipe(name, words)
            print(f"written to {path}; run it with cait-finetune -cd . -cn {path.stem}")
