"""Rewrite the words of a command line, so that Hydra reads each value as the user typed it."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path

from cait_finetune.cli.arguments import say_replaced
from cait_finetune.cli.from_run import continued, evaluated
from cait_finetune.cli.known_words import (
    refuse_misplaced_words,
    refuse_unknown_keys,
    refuse_unknown_options,
)
from cait_finetune.config.places import expanded, expanded_path
from cait_finetune.config.words import keep_text, read_text
from cait_finetune.config.yaml_files import Folders, own_folder, refuse_other_recipe
from cait_finetune.errors import bad_value

#: Hydra's options that take a value: first the options that name a folder of recipes.
_FOLDER_OPTIONS = ("-cd", "--config-dir", "-cp", "--config-path")
_OPTIONS = (
    *_FOLDER_OPTIONS, "-cn", "--config-name", "-p", "--package", "-c", "--cfg", "-sc", "--shell-completion",
)  # fmt: skip
#: Hydra's keys that hold a directory. Hydra does not expand ``~`` in them.
_DIRECTORIES = ("hydra.run.dir", "hydra.sweep.dir")


@contextlib.contextmanager
def arguments_as_typed(command: str = "train") -> Iterator[None]:
    """Rewrite `sys.argv` inside the block, so that Hydra reads each value as the user typed it.

    The function removes the folder of recipes from `sys.argv` and stores it in `Folders.own`. It is
    the folder of ``-cd``, of ``continue_from=`` or, for ``evaluate``, of ``run=``.

    Raises:
        UserError: an option or ``resume=`` has no value; an option or a key is unknown; the folder
            cannot be used, or has no ``config.yaml`` for ``-cn config``; or ``continue_from=`` or
            ``run=`` names no run that can be used.
    """
    typed = sys.argv
    folder, words = _without_folder(typed[1:])
    typed_folder = folder
    several = any(word == "-m" or re.fullmatch("--m[ultirn]*", word) for word in words)
    refuse_empty_resume(words)
    refuse_unknown_options(typed[1:])
    refuse_misplaced_words(typed[1:])
    run = next((word.partition("=")[2] for word in words if word.startswith("run=")), None)
    if run and command in ("lr_find", "show_batch"):
        hint = f"For a run's configuration write cait-finetune {command} -cd {shlex.quote(run)} -cn config"
        raise bad_value("run", run, "the keys of a training command", hint)
    if command == "evaluate":
        words, folder = evaluated(words, folder, _named(words))
    if {"-sc", "--shell-completion"} & set(words):
        _complete_keys_of_a_command()
    else:
        refuse_unknown_keys(words)
    say_replaced(words)
    words, folder = continued(words, folder, _named(words))
    sweeper = next((word for word in words if word.startswith("hydra/sweeper=")), None)
    if sweeper and not several and "hydra.mode=MULTIRUN" not in words:
        raise bad_value("hydra/sweeper", sweeper.partition("=")[2], "-m beside it", "Add -m.")
    words = keep_text(from_home(words), sweep=several or "hydra.mode=MULTIRUN" in words)
    Folders.own = own_folder(folder) if folder else None
    Folders.recipe = _named(words) or "config"
    if folder and _named(words) == "config" and not (folder / "config.yaml").is_file():
        raise bad_value(
            "-cn", f"config, which {folder} does not hold", "a config.yaml in the folder of -cd",
            "Leave out -cn config to start from the defaults.",
        )  # fmt: skip
    if typed_folder and not _named(words):
        _refuse_folder_without_recipe(typed_folder, words)
    if folder is None and (recipe := _named(words)):
        refuse_other_recipe(recipe)
    sys.argv = [typed[0], *words]
    try:
        yield
    finally:
        sys.argv, Folders.own = typed, None


def from_home(words: Iterable[str]) -> list[str]:
    """Return the words with ``~`` expanded in Hydra's directories."""
    pairs = ((word, *word.partition("=")[::2]) for word in words)
    return [
        f"{key}={expanded(key, value)}" if key in _DIRECTORIES and value.startswith("~") else word
        for word, key, value in pairs
    ]


def refuse_empty_resume(words: Iterable[str]) -> None:
    """Refuse ``resume=`` and the keys of Hydra's directories without a value.

    An unset shell variable leaves the value empty. Hydra would start a new run, or write into the
    working directory.

    Raises:
        UserError: a word sets such a key to nothing.
    """
    for word in words:
        key, sign, value = word.partition("=")
        if sign and key.lstrip("+") == "resume" and read_text(value).strip() == "":
            raise bad_value(
                "resume", "nothing", "the directory of a run, or null", "Write resume=DIR"
            )
        if sign and key in _DIRECTORIES and read_text(value).strip() == "":
            raise bad_value(
                key, "nothing", "a directory", f"Write {key}=DIR, or leave the key out."
            )


def _refuse_folder_without_recipe(folder: Path, words: Iterable[str]) -> None:
    """Refuse ``-cd DIR`` without ``-cn`` if no word chooses an option from the folder."""
    groups = {word.partition("=")[0].lstrip("+").partition("@")[0] for word in words if "=" in word}
    if any((folder / group).is_dir() for group in groups):
        return
    recipes = sorted(path.stem for path in folder.glob("*.yaml"))
    if recipes:
        raise bad_value("-cd", f"{folder} without -cn", f"-cn with one of {', '.join(recipes)}",
                        f"Write -cd {shlex.quote(str(folder))} -cn {recipes[0]}")  # fmt: skip


def _complete_keys_of_a_command() -> None:
    """Remove the command's name from the line to complete. Hydra completes only keys."""
    line = os.environ.get("COMP_LINE", "")
    if match := re.match(r"\S+ +([a-z_]+ +)", line):
        os.environ["COMP_LINE"] = line[: match.start(1)] + line[match.end(1) :]
        point = int(os.environ.get("COMP_POINT", len(line)))
        os.environ["COMP_POINT"] = str(max(0, point - len(match[1])))


def _named(words: list[str]) -> str | None:
    """Return the value of ``-cn``. `None`: the words do not contain it."""
    for word, following in pairwise([*words, ""]):
        option, sign, value = word.partition("=")
        if option in ("-cn", "--config-name"):
            return value if sign else following
    return None


def _without_folder(words: list[str]) -> tuple[Path | None, list[str]]:
    """Split off the folder of ``-cd DIR`` or ``-cp DIR``, which mean the same here.

    Returns:
        The folder, or `None`, and the other words. Options come first, as Hydra requires.

    Raises:
        UserError: the option lacks its value, or the words name two folders.
    """
    folder, options, keys = None, [], []
    left = iter(words)
    for word in left:
        option, sign, value = word.partition("=")
        if option in _FOLDER_OPTIONS:
            value = value if sign else next(left, "")
            if folder or not value:
                got = f"{folder} and {value}" if folder else "nothing"
                raise bad_value(option, got, "one folder with your own recipes")
            folder = expanded_path(option, value)
        elif word in _OPTIONS:
            options += [word, *([value] if (value := next(left, None)) is not None else [])]
        else:
            (options if word.startswith("-") else keys).append(word)
    return folder, [*options, *keys]
