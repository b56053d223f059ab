"""Find out why settings differ between runs: a command set them, a group's option, or the recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from cait_finetune.config.mappings import UNREADABLE
from cait_finetune.config.places import data_folder
from cait_finetune.config.settled import PATH_KEYS
from cait_finetune.runs.command_line import CONTINUE, named_keys
from cait_finetune.runs.leaderboard import Entry
from cait_finetune.runs.resume import FREE
from cait_finetune.runs.settings import flat
from cait_finetune.runs.values import mark_of

#: The key of a group that determines the group's other keys.
_CHOICES = ("name", "method", "strategy", "mode")
#: What a command begins with: a recipe, its folder, or a finished run.
_STARTS = ("-cn", "-cd", CONTINUE)


def _commands(entries: Sequence[Entry]) -> list[dict[str, str]]:
    """Return the keys of each command. Empty: one is unknown, or they begin with several recipes."""
    named = [named_keys(entry.command) for entry in entries if entry.command]
    starts = {tuple(one.get(option) for option in _STARTS) for one in named}
    return named if len(named) == len(entries) and len(starts) == 1 else []


def chosen(entries: Sequence[Entry], keys: Sequence[str]) -> list[str]:
    """Return those of `keys` that the runs' commands set. The other keys follow from the set keys.

    Return all `keys` if the commands set none of them, a command is unknown, or the recipes differ.

    Args:
        keys: the differing keys.
    """
    names = {key for one in _commands(entries) for key in one}

    def is_chosen(key: str) -> bool:
        group, _, leaf = key.partition(".")
        of_group = [other for other in keys if other in {f"{group}.{one}" for one in _CHOICES}]
        return key in names or (group in names and (leaf in _CHOICES or not of_group))

    return [key for key in keys if is_chosen(key)] or list(keys)


def unset(entries: Sequence[Entry], keys: Sequence[str]) -> list[str]:
    """Return those of `keys` that differ between runs whose commands set the same about them.

    The recipe or the defaults changed between such runs, or a resumed command set the key. Empty: a
    command is unknown, or the recipes differ.

    Args:
        keys: the differing keys.
    """
    named = _commands(entries)
    if not named:
        return []
    typed_groups = groups_in(entries)
    reach = {group: _reach(group, _folders(named)) for group in typed_groups}

    def changed(key: str) -> bool:
        groups = [group for group in typed_groups if _reaches(reach[group], key)]
        found: dict[tuple[str | None, ...], set[str]] = {}
        for entry, words in zip(entries, named, strict=True):
            group, _, leaf = key.partition(".")
            if key in entry.settings and key not in words and not (
                group in words and leaf in _CHOICES
            ):  # fmt: skip
                option = tuple(words.get(group) for group in groups)
                found.setdefault(option, set()).add(mark_of(entry.settings, key))
        return any(len(values) > 1 for values in found.values())

    return [key for key in keys if changed(key) and not _from_seed(entries, key)]


def why_unset(keys: Sequence[str]) -> str:
    """Name what may have changed `keys` that no command set."""
    causes = ["the recipe", "the defaults"]
    if any(key in PATH_KEYS for key in keys):
        causes.append("the working directory")
    if any(fnmatch(key, pattern) for key in keys for pattern in FREE):
        causes.append("a resumed command")
    return f"{', '.join(causes[:-1])} or {causes[-1]}"


def groups_in(entries: Sequence[Entry]) -> list[str]:
    """Return the groups of which the runs' commands choose an option, such as ``model``."""
    keys = {key for entry in entries for key in entry.settings}
    words = dict.fromkeys(word for one in _commands(entries) for word in one)
    return [
        word for word in words
        if "." not in word and word not in keys and word not in _STARTS
    ]  # fmt: skip


def _from_seed(entries: Sequence[Entry], key: str) -> bool:
    """Return whether `key` is `dataset.seed` as `seed` or `splits.seed` sets it."""
    return key == "dataset.seed" and all(
        one.settings.get(key) in (one.settings.get("seed"), one.settings.get("dataset.splits.seed"))
        for one in entries
    )


def _folders(named: Sequence[Mapping[str, str]]) -> list[Path]:
    own = {one["-cd"] for one in named if "-cd" in one}
    return [data_folder("conf"), *map(Path, sorted(own))]


def _reach(group: str, folders: Sequence[Path]) -> set[str]:
    """Return the keys and groups that the options of a group may set. Empty: unknown."""
    reach: set[str] = set()
    left = [group]
    while left:
        name = left.pop()
        if name in reach:
            continue
        files = [file for folder in folders for file in folder.glob(f"{name}/*.yaml")]
        if not files:
            return set()
        reach.add(name)
        for file in files:
            try:
                text = file.read_text(encoding="utf-8")
                content: Any = OmegaConf.to_container(OmegaConf.create(text))
            except (*UNREADABLE, OSError):
                return set()
            defaults = content.pop("defaults", [])
            left += [other for one in defaults if (other := _overridden(one))]
            if "@package _global_" in text:
                reach |= flat(content).keys()
    return reach


def _overridden(default: Any) -> str:
    """Return the group that an entry of a defaults list replaces, or an empty string."""
    if not isinstance(default, dict):
        return ""
    (word, _), *_ = default.items()
    return word.split()[-1].lstrip("/").partition("@")[0] if word.startswith("override") else ""


def _reaches(reach: set[str], key: str) -> bool:
    return not reach or key in reach or key.partition(".")[0] in reach
