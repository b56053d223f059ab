"""List the images of a folder: file extensions, litter and links, for all commands that list files.

Litter is hidden files and folders, and those that operating systems and programs leave beside images. The
output directories of this project's own commands, which may lie among the images, are left out too.
The module does not import TensorFlow: `cait_finetune.inference` lists files before TensorFlow loads.
"""

from __future__ import annotations

import collections
import dataclasses
import fnmatch
import os
import re
from collections.abc import Callable, Iterator, Sequence

from cait_finetune.data.image_files.class_list import some

#: File extensions that `cait_finetune.data.decode` reads, in lower case.
ENDINGS = (".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".webp")
#: Extensions of images with another number of channels than 3.
BANDS_ENDINGS = (".jfif", ".jpe", ".jpeg", ".jpg", ".npy", ".png", ".tif", ".tiff")

#: Names of litter in lower case. The whole name must match: ``#1 fan`` can be a class folder. Names
#: that begin with a dot are litter too: ``._photo.jpg``, ``.ipynb_checkpoints``, ``.Trash-1000``.
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
#: Name of the file that marks output directories whose name a command chose, and a caller's arrays.
OUTPUT_MARK = ".cait_output"
_SHOWN = 5  # file extensions in a note
_MAGIC = re.compile(r"[*?[]")

#: Function that returns the sorted names in a folder without litter, and whether each is a folder.
Entries = Callable[[str], list[tuple[str, bool]]]


@dataclasses.dataclass
class LeftOut:
    """What a search of folders found besides images.

    Attributes:
        files: paths of files without an image's extension.
        outputs: paths of output directories of commands.
    """

    files: set[str] = dataclasses.field(default_factory=set)
    outputs: list[str] = dataclasses.field(default_factory=list)

    def add(self, path: str) -> None:
        """Add a file. A file that several globs match counts once."""
        self.files.add(os.path.abspath(path))

    def endings(self) -> list[str]:
        """Return the extensions of the files, the most common first."""
        found = [os.path.splitext(path)[1].lower() or "no ending" for path in sorted(self.files)]
        return [name for name, _ in collections.Counter(found).most_common()]

    def notes(self) -> list[str]:
        """Return a line for the files, with their most common extensions, and one for `outputs`."""
        notes = []
        if self.files:
            shown = ", ".join(self.endings()[:_SHOWN])
            notes.append(f"files  {len(self.files):,} that are not images were left out: {shown}")
        if self.outputs:
            shown = some(sorted(set(self.outputs)))
            notes.append(f"files  output directories of commands were left out: {shown}")
        return notes


def is_image(name: str, bands: bool = False) -> bool:
    """Whether a file's name has an image's extension, in upper or lower case.

    Args:
        bands: images have another number of channels than 3, so that other formats are read.
    """
    return name.lower().endswith(BANDS_ENDINGS if bands else ENDINGS)


def is_litter(name: str) -> bool:
    """Whether a file or folder of this name is litter: empty, hidden, or left by a system or program."""
    return name[:1] in (".", "") or name.lower() in _LITTER


def is_output(folder: str) -> bool:
    """Whether a folder is a command's output directory, whose charts must not become a class."""
    if os.path.exists(f"{folder}/{OUTPUT_MARK}"):
        return True
    # A run in a directory that the user named. A new run has a lock before it has its configuration.
    begun = os.path.exists(f"{folder}/config.yaml") or os.path.exists(f"{folder}/.lock")
    return begun and os.path.isdir(f"{folder}/checkpoints")


def local_entries(folder: str, outputs: list[str] | None = None) -> list[tuple[str, bool]]:
    """Return the sorted names in a folder on a disk, and whether each is a folder or a link to one.

    The list omits litter, output directories, links to a folder that contains the link, and anything
    that is neither a file nor a folder. A broken link counts as a file, so that reading it gives an
    error.

    Args:
        outputs: list to which the function appends the paths of the omitted output directories.

    Raises:
        OSError: the folder cannot be read.
    """
    listed = []
    with os.scandir(folder) as found:
        for entry in found:
            if is_litter(entry.name) or (is_folder := _is_folder(entry)) is None:
                continue
            if is_folder and is_output(entry.path):
                if outputs is not None:
                    outputs.append(entry.path)
            elif not (is_folder and _is_loop(entry, folder)):
                listed.append((entry.name, is_folder))
    return sorted(listed)


def files_below(
    folder: str, entries: Entries = local_entries, within: str | None = None
) -> Iterator[str]:
    """Yield the paths of all files below a folder, relative to it, in the same order on each call.

    The walk follows a link to a folder, unless that folder contains the link.

    Args:
        folder: the folder.
        entries: lists one folder.
        within: folder above `folder`. The walk does not follow links to it or to folders that contain
            it. `None`: `folder`.

    Raises:
        OSError: as `entries`.
    """
    return (path for path, is_folder in _below(folder, entries, within or folder) if not is_folder)


def matching(pattern: str) -> list[str]:
    """Return the sorted paths that match a glob. ``**`` stands for zero or more folders.

    A component with a wildcard does not match litter. A component that begins with a dot matches
    hidden names. The search follows links as `files_below` does.

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
    """Yield paths in the folder `above` that match `part`: folders and, for the last part, files."""
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
    """Yield the path of each file and folder below `folder`, and whether it is a folder."""
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
            real = os.path.realpath(f"{here}/{name}")  # a bucket has no links
            if not any(_is_in(one, real) for one in above):
                yield path, True
                inner.append((path, (*above, real)))
        pending += reversed(inner)


def _is_folder(entry: os.DirEntry) -> bool | None:
    """Return True for a folder, False for a file or a broken link, None for anything else."""
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
    """Whether `path` is `folder` or is below it."""
    return os.path.join(path, "").startswith(os.path.join(folder, ""))
