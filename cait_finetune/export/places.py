"""Shorten paths in model cards and commands, so that no parent folders of the machine appear."""

from __future__ import annotations

import shlex
from pathlib import Path

from cait_finetune.config import PATH_KEYS
from cait_tf.places import home

_FOLDER_FOLLOWS = "-cd"


def short_place(path: str) -> str:
    """Shorten ``/home/me/photos`` and ``~/photos`` to ``…/photos``.

    A home directory and ``/`` become ``…``. Relative paths and ``gs://…`` stay unchanged, because
    they name no parent folder of the machine.
    """
    local = path.removeprefix("file://")
    if not local.startswith(("/", "~")):
        return path
    place = Path(local)
    at_home = place == home() or place.name.startswith("~")
    return "…" if at_home or not place.name else f"…/{place.name}"


def without_places(command: str) -> str:
    """Return a command whose paths `short_place` has shortened."""
    words = shlex.split(command)
    for number, word in enumerate(words):
        key, separator, value = word.partition("=")
        if number and words[number - 1] == _FOLDER_FOLLOWS:
            words[number] = short_place(word)
        elif separator and key.lstrip("+~") in PATH_KEYS:
            words[number] = f"{key}={short_place(value)}"
    return shlex.join(words)
