"""Files and folders of a disk or of wherever TensorFlow reads from: gs://, and s3:// with its plugin.

Paths are strings, and a disk is asked without TensorFlow: a million of files are listed in seconds.
"""

from __future__ import annotations

import contextlib
import os
import posixpath
import tempfile
import uuid
from collections.abc import Iterator
from typing import IO

import tensorflow as tf

from cait_finetune.errors import UserError, bad_value

#: What systems and programs leave beside images, thumbnails among it.
_LITTER = frozenset(("__MACOSX", "@eaDir", "Thumbs.db", "desktop.ini"))


def located(key: str, value: str, kind: str) -> str:
    """The path as it is to be used, of an existing ``folder`` or ``file``.

    Raises:
        UserError: it is not there, or in a place that cannot be read.
    """
    path = os.path.expanduser(value)
    if not is_remote(path):
        there = os.path.isdir(path) if kind == "folder" else os.path.isfile(path)
        if not there:
            raise _not_there(key, value, kind, os.path.exists(path))
        return os.path.abspath(path)
    check_scheme(key, path)
    try:
        is_folder = tf.io.gfile.stat(path).is_directory
    except tf.errors.NotFoundError:
        raise bad_value(key, value, f"an existing {kind}") from None
    except tf.errors.OpError as error:
        reason = error.message.splitlines()[0]
        raise bad_value(key, value, f"a {kind} that can be read ({reason})") from error
    if is_folder != (kind == "folder"):
        raise _not_there(key, value, kind, True)
    return path.rstrip("/")


def check_scheme(key: str, path: str) -> None:
    """Raises UserError on ``s3://`` and the like where TensorFlow cannot read that."""
    scheme = path.partition("://")[0]
    if scheme not in tf.io.gfile.get_registered_schemes():
        raise bad_value(
            key,
            path,
            f"a place that TensorFlow can read, which {scheme}:// is not without a plugin",
            "copy the images to a disk or to gs://, or mount the bucket as a folder",
        )


def is_remote(path: str) -> bool:
    return "://" in path


def join(folder: str, name: str) -> str:
    """`name` as seen from `folder`, unless it says itself where it is; without ``..`` in it."""
    if is_remote(name):
        return name
    if is_remote(folder):
        scheme, _, rest = folder.partition("://")
        return f"{scheme}://{posixpath.normpath(posixpath.join(rest, name))}"
    return os.path.normpath(os.path.join(folder, os.path.expanduser(name)))


def parent(path: str) -> str:
    """The folder that a file is in."""
    return path.rpartition("/")[0] if is_remote(path) else os.path.dirname(path)


def entries(folder: str) -> list[tuple[str, bool]]:
    """Names in a folder, sorted, and whether each is a folder; without what is hidden.

    Raises:
        UserError: the folder cannot be read, or a name in it is not UTF-8.
    """
    try:
        found = _remote_entries(folder) if is_remote(folder) else _local_entries(folder)
    except (OSError, tf.errors.OpError) as error:
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise bad_value(
            "dataset.data_dir", folder, f"a folder that can be read ({reason})"
        ) from error
    for name, _ in found:
        if not name.isascii():
            _check_utf8(folder, name)
    return sorted(found)


def files_below(folder: str) -> Iterator[str]:
    """Paths of all files in a folder and those in it, relative to it, in an order that stays."""
    pending = [("", (os.path.realpath(folder),))]
    while pending:
        below, above = pending.pop()
        here = f"{folder}/{below}" if below else folder
        inner = []
        for name, is_folder in entries(here):
            path = f"{below}/{name}" if below else name
            if not is_folder:
                yield path
                continue
            real = os.path.realpath(f"{here}/{name}")
            if is_remote(folder) or real not in above:  # a link to where it is itself
                inner.append((path, (*above, real)))
        pending += reversed(inner)


def size_and_times(path: str) -> tuple[int, ...]:
    """Bytes, and nanoseconds of the last change: on a disk of the content and of the file itself.

    Unpacked files have the times of their archive, in whole seconds: only the second time tells that
    two of the same size were swapped.
    """
    if is_remote(path):
        stat = tf.io.gfile.stat(path)
        return stat.length, stat.mtime_nsec
    stat = os.stat(path)
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def opened(path: str) -> IO[bytes]:
    """A file to be read."""
    return tf.io.gfile.GFile(path, "rb") if is_remote(path) else open(path, "rb")


def exists(path: str) -> bool:
    return tf.io.gfile.exists(path) if is_remote(path) else os.path.exists(path)


def names(folder: str) -> set[str]:
    """What a folder has, the hidden too; nothing if it is not there."""
    try:
        found = tf.io.gfile.listdir(folder) if is_remote(folder) else os.listdir(folder)
    except (OSError, tf.errors.OpError):
        return set()
    return set(found)


def write(path: str, text: str) -> None:
    """All of it or nothing: several processes may write the same file.

    Raises:
        OSError: it cannot be written.
    """
    if is_remote(path):
        try:
            draft = f"{parent(path)}/.cait_{uuid.uuid4().hex}"
            with tf.io.gfile.GFile(draft, "w") as file:
                file.write(text)
            tf.io.gfile.rename(draft, path, overwrite=True)
        except tf.errors.OpError as error:
            raise OSError(str(error).splitlines()[0]) from error
        return
    handle, draft = tempfile.mkstemp(prefix=".cait_", dir=os.path.dirname(path) or ".")
    try:
        with open(handle, "w", encoding="utf-8", newline="") as file:
            file.write(text)
        os.chmod(draft, 0o644)  # mkstemp's are for its user alone
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise


def _not_there(key: str, value: str, kind: str, exists: bool) -> UserError:
    if not exists:
        return bad_value(key, value, f"an existing {kind}")
    other, source = ("file", "csv") if kind == "folder" else ("folder", "folder")
    return bad_value(
        key, f"{value}, which is a {other}", f"a {kind}", f"dataset={source} reads a {other}"
    )


def _local_entries(folder: str) -> list[tuple[str, bool]]:
    with os.scandir(folder) as found:
        return [(entry.name, entry.is_dir()) for entry in found if not _is_litter(entry.name)]


def _remote_entries(folder: str) -> list[tuple[str, bool]]:
    found = []
    for name in tf.io.gfile.listdir(folder):
        is_folder, name = name.endswith("/"), name.rstrip("/")
        if _is_litter(name):
            continue
        # Object stores mark folders with a slash; of others ask, but not of what has an ending.
        is_folder = is_folder or ("." not in name and tf.io.gfile.isdir(f"{folder}/{name}"))
        found.append((name, is_folder))
    return found


def _is_litter(name: str) -> bool:
    return not name or name[0] == "." or name in _LITTER


def _check_utf8(folder: str, name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        shown = name.encode(errors="backslashreplace").decode()
        raise UserError(
            f"dataset.data_dir: got the name {shown} in {folder}, expected names in UTF-8\n"
            "  rename it"
        ) from error
