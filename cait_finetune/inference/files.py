"""Which image files are meant."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cait_finetune.config.places import expanded, expanded_path
from cait_finetune.data.image_files.listing import ENDINGS, files_below, is_image, matching
from cait_finetune.errors import bad_value


def find_images(images: Sequence[str]) -> list[Path]:
    """The files that paths, folders (with their subfolders) and globs name, each once.

    Folders that match a glob are searched too. A file with several names goes by the first. A file that
    is named may have any name; of folders and globs `cait_finetune.data.image_files.listing` says what counts.

    They are in the order of `images`, and sorted within each of these.

    Raises:
        UserError: one of them names no file, or a folder that cannot be read.
    """
    found: dict[str, Path] = {}  # by where it is
    for one in images:
        try:
            files = sorted(_named(one))
        except OSError as error:
            reason = f"{error.filename}: {error.strerror}"
            raise bad_value("images", one, f"folders that can be read ({reason})") from error
        if not files:
            raise bad_value(
                "images", one or "nothing", f"a file, a glob, or a folder with {', '.join(ENDINGS)}"
            )
        for file in files:
            found.setdefault(os.path.realpath(file), file)
    if not found:
        raise bad_value("images", "[]", "at least one file, folder or glob")
    return list(found.values())


def _named(one: str) -> list[Path]:
    if not one:
        return []
    path = expanded_path("images", one)
    if path.exists():  # also when a [ in its name would make a glob of it
        return _images_in(path) if path.is_dir() else [path]
    files = []
    for name in matching(expanded("images", one)):
        match = Path(name)
        if match.is_dir():
            files += _images_in(match)
        elif is_image(name):
            files.append(match)
    return files


def _images_in(folder: Path) -> list[Path]:
    return [folder / path for path in files_below(str(folder)) if is_image(path)]
