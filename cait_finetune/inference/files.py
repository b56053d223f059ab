"""Which image files are meant."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from cait_finetune.errors import bad_value

#: Of what is taken from a folder; a file that is named, or matches a glob, may have any.
ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")


def find_images(images: Sequence[str]) -> list[Path]:
    """The files that paths, folders (with their subfolders) and globs name, each once.

    They are in the order of `images`, and sorted within each of these.

    Raises:
        UserError: one of them names no file.
    """
    found: dict[Path, None] = {}
    for one in images:
        files = sorted(file for file in _named(one) if file.is_file())
        if not files:
            raise bad_value(
                "images", one or "nothing", f"a file, a glob, or a folder with {', '.join(ENDINGS)}"
            )
        found |= dict.fromkeys(files)
    if not found:
        raise bad_value("images", "[]", "at least one file, folder or glob")
    return list(found)


def _named(one: str) -> list[Path]:
    if not one:
        return []
    path = Path(one).expanduser()
    if path.is_dir():
        return [file for file in path.rglob("*") if file.suffix.lower() in ENDINGS]
    if path.exists():  # also when a [ in its name would make a glob of it
        return [path]
    return [Path(name) for name in glob.glob(str(path), recursive=True)]
