"""Check which weights an export was made from, and whether its files are unchanged."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cait_finetune.errors import bad_value
from cait_finetune.runs.directory import RunDirectory
from cait_tf.weights.checksum import stated_checksum

#: Key of a format's record in ``exports.json``: the checksum of the weights.
WEIGHTS = "weights"
#: Key of a format's record in ``exports.json``: the SHA-256 of the run's data.
DATA = "data"
#: Key of a format's record in ``exports.json``: size and SHA-256 of each file, by its path in ``export/``.
FILES = "files"


def weights_mark(checkpoint: Path) -> str | None:
    """Return the checksum in a weights file, or `None` if it has none, is damaged or is missing."""
    return stated_checksum(checkpoint)


def current_result(run: RunDirectory) -> dict[str, Any]:
    """Return the content of ``result.json`` if it describes the best weights.

    A run that continues to train after its result may have newer best weights.

    Returns:
        The content. Empty: the run has no result, or its result describes other weights.

    Raises:
        UserError: ``result.json`` cannot be read.
    """
    result = run.read_result()
    mark, scored = weights_mark(run.best_checkpoint), result.get("weights_sha256")
    return {} if mark and scored and scored != mark else result


def check_result(run: RunDirectory, key: str) -> None:
    """Check that the best weights of a finished run are those that its result describes.

    Args:
        key: the key at the start of the message.

    Raises:
        UserError: the weights are others, for example a copy of ``last.safetensors``; or
            ``result.json`` cannot be read.
    """
    if run.finished and run.read_result() and not current_result(run):
        raise bad_value(
            key,
            f"{run.best_checkpoint}, whose weights {run.result.name} does not describe",
            "the best weights of the finished run",
            "Restore the file, or give it as model.weights",
        )


def is_current(name: str, exports: Path, checkpoint: Path) -> bool:
    """Return whether the format `name` was made from the weights in `checkpoint`.

    Also return `True` if the checksum of `checkpoint` is unknown: then nothing shows that the
    format is outdated.

    Args:
        exports: the file ``exports.json``.
    """
    mark = weights_mark(checkpoint)
    if mark is None:
        return True
    try:
        return json.loads(exports.read_text(encoding="utf-8"))[name][WEIGHTS] == mark
    except (OSError, ValueError, KeyError, TypeError):
        return False


def describe_files(exports: Path, places: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return size and SHA-256 of each file, by its path relative to `exports`.

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
    """Return the first file of a format that is missing or differs from its record.

    Args:
        exports: the folder ``export/``.
        record: the format's record in ``exports.json``.

    Returns:
        The path relative to `exports`. `None`: no such file, or the record, from an earlier version,
        names no files.
    """
    files, hashes = record.get(FILES, {}), _Hashes()
    for name, stated in files.items():  # check the sizes first, because they are quick to read
        if not (exports / name).is_file() or (exports / name).stat().st_size != stated["bytes"]:
            return name
    differing = (name for name in files if hashes.of(exports / name) != files[name]["sha256"])
    return next(differing, None)


class _Hashes:
    """Compute SHA-256 digests of files, and hash a file with several hard links once.

    ``serving/`` holds hard links to the files of the SavedModel.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], str] = {}

    def of(self, path: Path) -> str:
        status = path.stat()
        key = (status.st_dev, status.st_ino)
        if key not in self._known:
            with open(path, "rb") as file:
                self._known[key] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._known[key]
