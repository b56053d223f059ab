"""Which files of a folder are images: endings, litter and links, for every command that lists files.

Imports no TensorFlow: `cait_finetune.inference` lists files before TensorFlow is loaded.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterator, Sequence

#: What `cait_finetune.data.decode` reads, by the ending of a file's name in small letters.
ENDINGS = (".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".webp")

#: What systems and programs leave beside images, in small letters. Names that begin with a dot are
#: litter too: ``._photo.jpg``, ``.ipynb_checkpoints``, ``.Trash-1000``. A name has to be equal: the
#: class folder ``#1 fan`` is none.
_LITTER = frozenset(
    (
        "#recycle",  # Synology
        "#snapshot",
        "@eadir",
        "@tmp",
        "@recycle",  # QNAP
        "@recently-snapshot",
        "$recycle.bin",  # Windows
        "system volume information",
        "thumbs.db",
        "ehthumbs.db",
        "desktop.ini",
        "__macosx",  # macOS
        "icon\r",
        "network trash folder",
        "temporary items",
        "lost+found",  # Linux, readable to root alone
        "__pycache__",
    )
)
_MAGIC = re.compile(r"[*?[]")

#: Names in a folder, sorted, and whether each is a folder; litter is left out.
Entries = Callable[[str], list[tuple[str, bool]]]


def is_image(name: str) -> bool:
    """Whether a file's name ends as an image's, in capitals or not."""
    return name.lower().endswith(ENDINGS)


def is_litter(name: str) -> bool:
    """Whether a file or folder of that name is hidden, or left by a system."""
    return name[:1] in (".", "") or name.lower() in _LITTER


def local_entries(folder: str) -> list[tuple[str, bool]]:
    """Names in a folder of a disk, sorted, and whether each is a folder, through links.

    Leaves out litter, links to a folder that the link is in, and what is neither file nor folder. A
    broken link counts as a file: who reads it says that it is broken.

    Raises:
        OSError: the folder cannot be read.
    """
    with os.scandir(folder) as found:
        kinds = [(entry, _is_folder(entry)) for entry in found if not is_litter(entry.name)]
        return sorted(
            (entry.name, is_folder)
            for entry, is_folder in kinds
            if is_folder is not None and not (is_folder and _is_loop(entry, folder))
        )


def files_below(
    folder: str, entries: Entries = local_entries, within: str | None = None
) -> Iterator[str]:
    """Paths of all files in a folder and those in it, relative to it, in an order that stays.

    A linked folder is followed, unless the link is in it.

    Args:
        within: the folder that the walk began in, which links do not lead back to; None: `folder`.

    Raises:
        OSError: as `entries`.
    """
    return (path for path, is_folder in _below(folder, entries, within or folder) if not is_folder)


def matching(pattern: str) -> list[str]:
    """Paths that a glob names, sorted; ``**`` is any number of folders, none as well.

    Leaves out litter, unless a part without a wildcard names it; a part that begins with a dot finds
    what is hidden. Links are followed as by `files_below`.

    Raises:
        OSError: a folder cannot be read.
    """
    found = {"/" if pattern.startswith("/") else ""}
    parts = [part for part in pattern.split("/") if part]
    for number, part in enumerate(parts, 1):
        last = number == len(parts)
        found = {path for above in found for path in _matching_in(above, part, last)}
    return sorted(found)


def _matching_in(above: str, part: str, last: bool) -> Iterator[str]:
    """Paths in the folder `above`; folders alone, unless the part is the last one."""
    if not _MAGIC.search(part):
        path = os.path.join(above, part)
        if os.path.lexists(path) if last else os.path.isdir(path):
            yield path
        return
    if part == "**":
        yield above
        for path, is_folder in _below(above or ".", local_entries, above or "."):
            if is_folder or last:
                yield os.path.join(above, path)
        return
    accept = re.compile(fnmatch.translate(part)).match
    for name, is_folder in _entries_for(above or ".", part):
        if accept(name) and (is_folder or last):
            yield os.path.join(above, name)


def _entries_for(folder: str, part: str) -> list[tuple[str, bool]]:
    if part[0] == ".":
        return [(name, os.path.isdir(os.path.join(folder, name))) for name in os.listdir(folder)]
    return local_entries(folder)


def _below(folder: str, entries: Entries, within: str) -> Iterator[tuple[str, bool]]:
    """Files and folders."""
    begin = (os.path.realpath(within), os.path.realpath(folder))
    pending: list[tuple[str, Sequence[str]]] = [("", begin)]
    while pending:
        below, above = pending.pop()
        here = f"{folder}/{below}" if below else folder
        inner = []
        for name, is_folder in entries(here):
            path = f"{below}/{name}" if below else name
            if not is_folder:
                yield path, False
                continue
            real = os.path.realpath(f"{here}/{name}")  # no links in a bucket: its own name
            if not any(_is_in(one, real) for one in above):
                yield path, True
                inner.append((path, (*above, real)))
        pending += reversed(inner)


def _is_folder(entry: os.DirEntry) -> bool | None:
    """Whether it is a folder or a file; None: neither."""
    try:
        if entry.is_dir():
            return True
        if entry.is_file() or not os.path.exists(entry.path):
            return False
    except OSError:  # a link to itself
        return False
    return None


def _is_loop(entry: os.DirEntry, folder: str) -> bool:
    return entry.is_symlink() and _is_in(os.path.realpath(folder), os.path.realpath(entry.path))


def _is_in(path: str, folder: str) -> bool:
    """Whether it is that folder, or below it."""
    return os.path.join(path, "").startswith(os.path.join(folder, ""))
