"""Find out why settings differ between runs: a command, a group's option or the recipe set them."""

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

#: Names of keys that determine the other keys of their group.
_CHOICES = ("name", "method", "strategy", "mode")
#: What a command begins with: a recipe, its folder, or a finished run.
_STARTS = ("-cn", "-cd", CONTINUE)


#: The keys and values that a command sets.
Words = dict[str, str]


def _commands(entries: Sequence[Entry]) -> list[Words]:
    """Return what each command sets. Empty: a command is unknown, or their starts differ."""
    by_start = _by_start(entries)
    known = [words for pairs in by_start for _, words in pairs]
    return known if len(known) == len(entries) and len(by_start) == 1 else []


def _by_start(entries: Sequence[Entry]) -> list[list[tuple[Entry, Words]]]:
    """Return the runs with a known command and what it sets, grouped by the command's start."""
    found: dict[tuple[str | None, ...], list[tuple[Entry, Words]]] = {}
    for entry in entries:
        if entry.command:
            words = named_keys(entry.command)
            start = tuple(words.get(option) for option in _STARTS)
            found.setdefault(start, []).append((entry, words))
    return list(found.values())


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
    """Return those of `keys` whose differences the commands do not explain.

    Commands explain a difference if they set the key, or choose different options of a group that
    may set the key. Otherwise the recipe or the defaults changed between the runs, or a resumed
    command set the key. Runs with an unknown command are left out, and runs of different recipes
    are not compared.

    Args:
        keys: the differing keys.
    """
    found = {key for pairs in _by_start(entries) for key in _unset(pairs, keys)}
    return [key for key in keys if key in found and not _from_seed(entries, key)]


def _unset(pairs: Sequence[tuple[Entry, Words]], keys: Sequence[str]) -> list[str]:
    typed_groups = _groups(pairs)
    folders = _folders([words for _, words in pairs])
    reach = {group: _reach(group, folders) for group in typed_groups}

    def changed(key: str) -> bool:
        own, _, leaf = key.partition(".")
        groups = [group for group in typed_groups if _reaches(reach[group], key)]
        found: dict[tuple[str | None, ...], set[str]] = {}
        for entry, words in pairs:
            is_set = key in words or (own in words and leaf in _CHOICES)
            if key in entry.settings and not is_set:
                option = tuple(words.get(group) for group in groups)
                found.setdefault(option, set()).add(mark_of(entry.settings, key))
        return any(len(values) > 1 for values in found.values())

    return [key for key in keys if changed(key)]


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
    return list(dict.fromkeys(group for pairs in _by_start(entries) for group in _groups(pairs)))


def _groups(pairs: Sequence[tuple[Entry, Words]]) -> list[str]:
    keys = {key for entry, _ in pairs for key in entry.settings}
    typed = dict.fromkeys(word for _, words in pairs for word in words)
    return [word for word in typed if "." not in word and word not in keys and word not in _STARTS]


def _from_seed(entries: Sequence[Entry], key: str) -> bool:
    """Return whether `key` is `dataset.seed` and each run took it from `seed` or `splits.seed`."""
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
