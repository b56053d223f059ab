"""Write a file or a directory as a whole, or leave what stands there.

A process can die at any instruction, and a disk can be full at any byte. So everything is written under
a name of its own beside its destination, brought to the disk, and renamed.
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

#: How the names begin that nothing but this module uses.
PREFIX = ".partial-"
#: Called with the path of each write, before it begins and before the file gets its name.
_guards: list[Callable[[Path], None]] = []
_DAY = 86_400.0  # seconds
#: Why a write fails, as far as libraries that raise no OSError put it into words.
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
    """Yield a new path to write a file or a directory to; it becomes `path` when the block ends well.

    The new name keeps the ending, which tells many libraries the format. A link is followed. What a
    killed process left beside `path` is removed when it is a day old.

    Raises:
        OSError: it cannot be written; `filename` is `path`, whichever library wrote.
    """
    path = Path(os.path.realpath(path))
    partial = path.with_name(f"{PREFIX}{os.getpid()}-{secrets.token_hex(4)}-{path.name}")
    sys.audit("cait_tf.atomic_path", str(path))
    try:
        with naming(path):
            yield partial
            _sync(partial)
            _ask_guards(path)  # a large file takes a while
            if partial.is_dir():  # a directory that is not empty cannot be replaced
                shutil.rmtree(path, ignore_errors=True)
            os.replace(partial, path)
            _sync(path.parent)
    finally:
        remove(partial)
        _remove_old(path)


@contextlib.contextmanager
def atomic_open(path: str | Path, mode: str = "w", newline: str | None = None) -> Iterator[IO[Any]]:
    """Yield an open file, UTF-8 where it takes text, that becomes `path` when the block ends well.

    Raises:
        OSError: as `atomic_path`.
    """
    encoding = None if "b" in mode else "utf-8"
    with (
        atomic_path(path) as partial,
        open(partial, mode, encoding=encoding, newline=newline) as file,
    ):
        yield file


def write_text(path: str | Path, text: str) -> None:
    """Replace a file by `text` in UTF-8.

    Raises:
        OSError: as `atomic_path`.
    """
    with atomic_open(path) as file:
        file.write(text)


@contextlib.contextmanager
def guarded(guard: Callable[[Path], None]) -> Iterator[None]:
    """Inside, `guard` is called with the path of each write, and prevents it by raising an error."""
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
    """Inside, an error of writing is an OSError that names a file, `path` where it names none.

    TensorFlow, safetensors and h5py raise errors of their own, whose text has the system's words.

    Raises:
        OSError: something could not be written.
    """
    _ask_guards(path)
    try:
        yield
    except Exception as error:
        named = getattr(error, "filename", None)
        number = getattr(error, "errno", None) or _number(error)
        if number is None or (named is not None and PREFIX not in str(named)):
            raise  # no error of the system, or of another file
        raise OSError(number, os.strerror(number), str(path)) from error


def remove(path: Path) -> None:
    """Remove a file or a directory that may not be there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink()


def remove_partial(directory: Path) -> None:
    """Remove what killed processes left in and below `directory`, which nobody else writes to now."""
    for path in list(directory.rglob(f"{PREFIX}*")):
        remove(path)


def _number(error: Exception) -> int | None:
    """The system's number of what went wrong, from the words of a library; `None` where it has none."""
    text = str(error)
    if found := re.search(r"\bos error (\d+)|\berrno = (\d+)", text):
        return int(found[1] or found[2])
    if PREFIX not in text:  # TensorFlow names the file, which may be one that is read
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
    """Bring a file's content, or a directory's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system without it
            raise
    finally:
        os.close(descriptor)
