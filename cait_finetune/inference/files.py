"""Which image files are meant."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from cait_finetune.errors import bad_value

#: Of what is taken from a folder or matches a glob; a file that is named may have any.
ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")


def find_images(images: Sequence[str]) -> list[Path]:
    """The files that paths, folders (with their subfolders) and globs name, each once.

    Folders that match a glob are searched too. A file with several names goes by the first.

    They are in the order of `images`, and sorted within each of these.

    Raises:
        UserError: one of them names no file.
    """
    found: dict[Path, Path] = {}  # by where it is
    for one in images:
        files = sorted(file for file in _named(one) if file.is_file())
        if not files:
            raise bad_value(
                "images", one or "nothing", f"a file, a glob, or a folder with {', '.join(ENDINGS)}"
            )
        for file in files:
            found.setdefault(file.resolve(), file)
    if not found:
        raise bad_value("images", "[]", "at least one file, folder or glob")
    return list(found.values())


def _named(one: str) -> list[Path]:
    if not one:
        return []
    path = Path(one).expanduser()
    if path.is_dir():
        return _images_in(path)
    if path.exists():  # also when a [ in its name would make a glob of it
        return [path]
    matches = map(Path, glob.glob(str(path), recursive=True))
    return [
        file
        for match in matches
        for file in (_images_in(match) if match.is_dir() else filter(_is_image, [match]))
    ]


def _images_in(folder: Path) -> list[Path]:
    return list(filter(_is_image, folder.rglob("*")))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in ENDINGS
