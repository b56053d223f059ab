"""Which weights an export was made from, and whether its files are still as they were written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cait_tf.weights.checksum import stated_checksum

#: Key of a format's record in ``exports.json``.
WEIGHTS = "weights"
#: Key of a format's record in ``exports.json``: the fingerprint of the data that the run is of.
DATA = "data"
#: Key of a format's record in ``exports.json``: size and SHA-256 of each file, by its path in ``export/``.
FILES = "files"


def weights_mark(checkpoint: Path) -> str | None:
    """The checksum that a weights file states of itself; None where it states none or is damaged."""
    return stated_checksum(checkpoint)


def is_current(name: str, exports: Path, checkpoint: Path) -> bool:
    """Whether ``exports.json`` says that the format `name` was made from the weights in `checkpoint`.

    True, too, where these cannot be told: then there is nothing better than the export.
    """
    mark = weights_mark(checkpoint)
    if mark is None:
        return True
    try:
        return json.loads(exports.read_text(encoding="utf-8"))[name][WEIGHTS] == mark
    except (OSError, ValueError, KeyError, TypeError):
        return False


def describe_files(exports: Path, places: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Size and SHA-256 of each file.

    Args:
        exports: the folder ``export/``.
        places: folders in `exports`.
    """
    found = sorted(
        path for place in places for path in (exports / place).rglob("*") if path.is_file()
    )
    hashes = _Hashes()
    return {
        path.relative_to(exports).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": hashes.of(path),
        }
        for path in found
    }


def damaged_file(exports: Path, record: Mapping[str, Any]) -> str | None:
    """The first file of a format that is missing or differs from its record; `None`: there is none.

    `None`, too, for a record of an earlier version, which names no files.
    """
    files, hashes = record.get(FILES, {}), _Hashes()
    for name, stated in files.items():  # sizes first: they cost nothing
        if not (exports / name).is_file() or (exports / name).stat().st_size != stated["bytes"]:
            return name
    differing = (name for name in files if hashes.of(exports / name) != files[name]["sha256"])
    return next(differing, None)


class _Hashes:
    """SHA-256s, of files under several names once: ``serving/`` holds hard links to the SavedModel."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], str] = {}

    def of(self, path: Path) -> str:
        status = path.stat()
        key = (status.st_dev, status.st_ino)
        if key not in self._known:
            with open(path, "rb") as file:
                self._known[key] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._known[key]
