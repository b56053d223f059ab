"""Write a file or a directory completely, or leave the old one unchanged.

A process can die at any instruction, and a disk can be full at any byte. The module therefore
writes under a temporary name beside the destination, syncs the data to the disk, and then renames.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

#: Prefix of the temporary names. Only this module uses names with this prefix.
PREFIX = ".partial-"
#: Functions called with the path of each write: before the write, and again before the rename.
_guards: list[Callable[[Path], None]] = []
_DAY = 86_400.0  # seconds
#: Errors whose text `_number` finds in the messages of libraries that do not raise OSError.
_REASONS = (
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
)


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path for a file or directory; rename it to `path` if the block succeeds.

    The temporary name keeps the ending of `path`, because many libraries take the format from it.
    If `path` is a symbolic link, its target is replaced. The function also removes temporary files for
    `path` that are older than a day: a killed process has left them.

    Raises:
        OSError: the write failed. `filename` is `path`, unless the error is about another file.
    """
    path = Path(os.path.realpath(path))
    partial = path.with_name(f"{PREFIX}{os.getpid()}-{secrets.token_hex(4)}-{path.name}")
    sys.audit("cait_tf.atomic_path", str(path))
    try:
        with naming(path):
            yield partial
            _sync(partial)
            _ask_guards(path)  # again: a guard may have changed its answer during a long write
            if partial.is_dir():  # os.replace cannot replace a directory that is not empty
                shutil.rmtree(path, ignore_errors=True)
            os.replace(partial, path)
            _sync(path.parent)
    finally:
        remove(partial)
        _remove_old(path)


@contextlib.contextmanager
def atomic_open(path: str | Path, mode: str = "w", newline: str | None = None) -> Iterator[IO[Any]]:
    """Yield an open temporary file; rename it to `path` when the block succeeds. Text is UTF-8.

    Raises:
        OSError: as for `atomic_path`.
    """
    encoding = None if "b" in mode else "utf-8"
    with (
        atomic_path(path) as partial,
        open(partial, mode, encoding=encoding, newline=newline) as file,
    ):
        yield file


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to a file in UTF-8, in place of its old content.

    Raises:
        OSError: as for `atomic_path`.
    """
    with atomic_open(path) as file:
        file.write(text)


@contextlib.contextmanager
def guarded(guard: Callable[[Path], None]) -> Iterator[None]:
    """Call `guard` with the path of each write in the block. An error of `guard` prevents the write."""
    _guards.append(guard)
    try:
        yield
    finally:
        _guards.remove(guard)


def _ask_guards(path: str | Path) -> None:
    for guard in tuple(_guards):
        guard(Path(path))


@contextlib.contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Turn a failed write inside the block into an OSError that names `path`.

    TensorFlow, safetensors and h5py raise exceptions whose text holds the system's error. The
    function changes neither an OSError that names another file nor an exception without a system
    error.

    Raises:
        OSError: a file could not be written.
    """
    _ask_guards(path)
    try:
        yield
    except Exception as error:
        named = getattr(error, "filename", None)
        number = getattr(error, "errno", None) or _number(error)
        if number is None or (named is not None and PREFIX not in str(named)):
            raise  # not a system error, or an error about another file
        raise OSError(number, os.strerror(number), str(path)) from error


def remove(path: Path) -> None:
    """Remove a file or a directory. Do nothing if the path does not exist."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def remove_partial(directory: Path) -> None:
    """Remove all temporary files below `directory`. No other process may be writing there."""
    for path in list(directory.rglob(f"{PREFIX}*")):
        remove(path)


def _number(error: Exception) -> int | None:
    """Return the errno in the text of a library's exception. `None`: the text has none."""
    text = str(error)
    if found := re.search(r"\bos error (\d+)|\berrno = (\d+)", text):
        return int(found[1] or found[2])
    if PREFIX not in text:  # TensorFlow's error may be about a file that it reads
        return None
    return next((number for number in _REASONS if os.strerror(number) in text), None)


def _remove_old(path: Path) -> None:
    for left in path.parent.glob(f"{PREFIX}*-{_escaped(path.name)}"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _DAY:
                remove(left)


def _escaped(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)


def _sync(path: Path) -> None:
    """Sync a file's content, or a directory's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # the file system has no fsync
            raise
    finally:
        os.close(descriptor)
