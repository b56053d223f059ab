"""Find the image files that a user names."""

from __future__ import annotations

import functools
import glob
import os
from collections.abc import Sequence
from pathlib import Path

from cait_finetune.config.places import expanded, expanded_path
from cait_finetune.data.image_files.listing import (
    BANDS_ENDINGS,
    ENDINGS,
    LeftOut,
    files_below,
    is_image,
    local_entries,
    matching,
)
from cait_finetune.errors import bad_value, suggest


def find_images(
    images: Sequence[str], left_out: LeftOut | None = None, bands: bool = False
) -> list[Path]:
    """Return the image files that paths, folders and globs name.

    The search includes subfolders, and folders that match a glob. A folder or glob does not add a
    file that is already listed: the same name in the same folder. A link to an image counts as a
    separate image, as in training. A file that you name directly may have any extension. It is
    listed each time you name it, so that a list of files and the result have the same length. In
    folders and globs, `cait_finetune.data.image_files.listing` decides which files are images.

    Args:
        images: the paths, folders and globs.
        left_out: collects what the search omits: files that are not images, and output directories.
            `None`: collect nothing.
        bands: as in `listing.is_image`.

    Returns:
        The files in the order of `images`, sorted within each element of `images`.

    Raises:
        UserError: an element of `images` names no file, or a folder cannot be read.
    """
    found: list[Path] = []
    left_out = LeftOut() if left_out is None else left_out
    listed: set[tuple[str, str]] = set()  # real folder and file name
    for one in images:
        try:
            files = sorted(_named(one, left_out, bands))
        except OSError as error:
            reason = f"{error.filename}: {error.strerror}"
            raise bad_value("images", one, f"folders that can be read ({reason})") from error
        if not files:
            raise bad_value(
                "images",
                f"{one}, {_why_nothing(one)}" if one else "nothing",
                f"a file, a glob, or a folder with {', '.join(BANDS_ENDINGS if bands else ENDINGS)}",
            )
        direct = expanded_path("images", one).is_file()
        for file in files:
            place = os.path.realpath(file.parent), file.name
            if direct or place not in listed:
                found.append(file)
            listed.add(place)
    if not found:
        raise bad_value("images", "[]", "at least one file, folder or glob")
    return found


def _why_nothing(one: str) -> str:
    """Return why a name gives no file. If a parent folder does not exist, name the topmost one."""
    if "://" in one:
        return "an address: download the image first"
    path = expanded_path("images", one)
    for folder in reversed(path.parents):
        if not folder.exists() and not glob.has_magic(str(folder)):
            beside = [entry.name for entry in folder.parent.iterdir() if entry.is_dir()]
            near = suggest(folder.name, beside)
            return f"but {folder} does not exist{near and f' ({near[:-1]})'}"
    if glob.has_magic(one):
        return "which matches no image"
    if path.is_dir():
        return "which has no image"
    near = suggest(path.name, [entry.name for entry in path.parent.iterdir() if entry.is_file()])
    return f"which does not exist{near and f' ({near[:-1]})'}"


def _named(one: str, left_out: LeftOut, bands: bool) -> list[Path]:
    if not one:
        return []
    path = expanded_path("images", one)
    if path.exists():  # even if a [ in the name makes it look like a glob
        return _images_in(path, left_out, bands) if path.is_dir() else [path]
    files = []
    for name in matching(_with_literal_folder(expanded("images", one))):
        match = Path(name)
        if match.is_dir():
            files += _images_in(match, left_out, bands)
        elif is_image(name, bands):
            files.append(match)
        else:
            left_out.add(name)
    return files


def _with_literal_folder(pattern: str) -> str:
    """Escape the part of a pattern that is an existing folder, such as ``photos [2024]``."""
    folder, name = os.path.split(pattern)
    while folder and folder != os.path.dirname(folder):
        if os.path.isdir(folder):
            return os.path.join(glob.escape(folder), name)
        folder, inner = os.path.split(folder)
        name = os.path.join(inner, name)
    return pattern


def _images_in(folder: Path, left_out: LeftOut, bands: bool) -> list[Path]:
    files = files_below(str(folder), functools.partial(local_entries, outputs=left_out.outputs))
    images = []
    for path in files:
        if is_image(path, bands):
            images.append(folder / path)
        else:
            left_out.add(str(folder / path))
    return images
