"""Files and folders on a disk, or in storage that TensorFlow reads: gs://, and s3:// with its plugin.

Paths are strings, and the functions access a disk without TensorFlow. Both save time with millions of
files.
"""

from __future__ import annotations

import contextlib
import functools
import os
import posixpath
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import tensorflow as tf

from cait_finetune.config.places import expanded
from cait_finetune.data.image_files import listing
from cait_finetune.errors import UserError, bad_value, reason, suggest
from cait_finetune.runtime.locks import beside, wait_for_lock
from cait_tf.atomic import atomic_open


def located(key: str, value: str, kind: str) -> str:
    """Return the path of an existing folder or file. A path on a disk becomes absolute.

    Args:
        key: the configuration key of the path, for messages.
        value: the configured path.
        kind: ``folder`` or ``file``.

    Raises:
        UserError: the path does not exist, is not of this `kind`, or TensorFlow cannot read it.
    """
    path = expanded(key, value)
    if not is_remote(path):
        there = os.path.isdir(path) if kind == "folder" else os.path.isfile(path)
        if not there:
            raise _not_there(key, value, kind, os.path.exists(path))
        return os.path.abspath(path)
    check_readable(key, path)
    try:
        is_folder = tf.io.gfile.stat(path).is_directory
    except tf.errors.NotFoundError:
        raise _not_there(key, value, kind, False) from None
    except tf.errors.OpError as error:
        raise bad_value(key, value, f"a {kind} that can be read ({reason(error)})") from error
    if is_folder != (kind == "folder"):
        raise _not_there(key, value, kind, True)
    return path.rstrip("/")


def check_readable(key: str, path: str, got: str = "") -> None:
    """Check that TensorFlow knows the scheme of a path, such as ``s3://``. Do not open the path.

    Args:
        key: the configuration key that the message names.
        got: the value that the message names. Empty: the path.

    Raises:
        UserError: TensorFlow does not know the scheme.
    """
    if is_readable(path):
        return
    scheme = path.partition("://")[0]
    raise bad_value(
        key,
        got or path,
        f"a path that TensorFlow can read; {scheme}:// needs a plugin",
        "Copy the images to a disk or to gs://, or mount the bucket as a folder",
    )


def is_readable(path: str) -> bool:
    """Whether the path is on a disk, or TensorFlow knows its scheme."""
    if not is_remote(path):
        return True
    return path.partition("://")[0] in tf.io.gfile.get_registered_schemes()


def is_remote(path: str) -> bool:
    return "://" in path


def join(folder: str, name: str) -> str:
    """Return the normalised path of `name` relative to `folder`; an absolute or remote `name` itself."""
    if is_remote(name):
        return name
    if is_remote(folder):
        scheme, _, rest = folder.partition("://")
        return f"{scheme}://{posixpath.normpath(posixpath.join(rest, name))}"
    return os.path.normpath(os.path.join(folder, expanded("path", name)))


def parent(path: str) -> str:
    """Return the folder of a file."""
    return path.rpartition("/")[0] if is_remote(path) else os.path.dirname(path)


def entries(folder: str, outputs: list[str] | None = None) -> list[tuple[str, bool]]:
    """Return the sorted names in a folder without litter, and whether each is a folder.

    Args:
        outputs: gets the omitted output directories, as in `listing.local_entries`.

    Raises:
        UserError: the folder cannot be read, or a name in it is not UTF-8.
    """
    try:
        if is_remote(folder):
            found = _remote_entries(folder)
        else:
            found = listing.local_entries(folder, outputs)
    except (OSError, tf.errors.OpError) as error:
        why = getattr(error, "strerror", None) or reason(error)
        raise bad_value("dataset.data_dir", folder, f"a folder that can be read ({why})") from error
    for name, _ in found:
        if not name.isascii():
            _check_utf8(folder, name)
    return found


def files_below(
    folder: str, within: str | None = None, outputs: list[str] | None = None
) -> Iterator[str]:
    """As `listing.files_below`, but for buckets too.

    Args:
        outputs: gets the omitted output directories, as in `listing.local_entries`.

    Raises:
        UserError: as `entries`.
    """
    return listing.files_below(folder, functools.partial(entries, outputs=outputs), within)


def size_and_times(path: str) -> tuple[int, ...]:
    """Return the size in bytes and the time of the last change in nanoseconds.

    For a file on a disk, also return the inode's time of change in nanoseconds, and the inode's
    number. Sizes and times may not show that two folders were swapped: renaming a folder does not
    change the times of its files, and unpacking an archive may give files in several folders the
    same times. The inode's number shows it.
    """
    if is_remote(path):
        stat = tf.io.gfile.stat(path)
        return stat.length, stat.mtime_nsec
    stat = os.stat(path)
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def opened(path: str) -> IO[bytes]:
    """Open a file for reading."""
    return tf.io.gfile.GFile(path, "rb") if is_remote(path) else open(path, "rb")


def read(path: str) -> bytes:
    """Return all bytes of a file.

    Raises:
        OSError, tf.errors.OpError: the file cannot be read.
    """
    if is_remote(path):
        with tf.io.gfile.GFile(path, "rb") as file:
            return file.read()
    # Python's file objects would slow down the reading of many small files.
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        size = os.fstat(descriptor).st_size
        content = os.read(descriptor, size)
        # One os.read returns at most 2 GB.
        while len(content) < size and (more := os.read(descriptor, size)):
            content += more
        return content
    finally:
        os.close(descriptor)


def exists(path: str) -> bool:
    return tf.io.gfile.exists(path) if is_remote(path) else os.path.exists(path)


def names(folder: str) -> set[str]:
    """Return all names in a folder, with hidden ones. Empty: the folder cannot be read."""
    try:
        found = tf.io.gfile.listdir(folder) if is_remote(folder) else os.listdir(folder)
    except (OSError, tf.errors.OpError):
        return set()
    return set(found)


def real_paths(paths: Sequence[str]) -> list[str]:
    """Resolve the links in paths. Return paths in a bucket unchanged.

    The function reads each folder once, because resolving each file would be slow.
    """
    folders: dict[str, tuple[str, set[str]]] = {}
    found = []
    for path in paths:
        above, _, name = path.rpartition("/")
        if is_remote(path):
            found.append(path)
            continue
        if above not in folders:
            folders[above] = os.path.realpath(above or "/"), _links(above or "/")
        real, links = folders[above]
        found.append(os.path.realpath(path) if name in links else os.path.join(real, name))
    return found


def write(path: str, text: str) -> None:
    """Write a text file atomically, so that several processes may write the same file.

    Raises:
        OSError: the file cannot be written.
    """
    if is_remote(path):
        try:
            draft = f"{parent(path)}/.cait_{uuid.uuid4().hex}"
            with tf.io.gfile.GFile(draft, "w") as file:
                file.write(text)
            tf.io.gfile.rename(draft, path, overwrite=True)
        except tf.errors.OpError as error:
            raise OSError(reason(error)) from error
        return
    with atomic_open(path, newline="") as file:
        file.write(text)


@contextlib.contextmanager
def locked(*paths: str, says: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Hold a lock file beside the first of `paths` on a disk where a lock file can be made.

    Wait while another process holds the lock. If no lock file can be made, do not lock.

    Args:
        says: called once before waiting, with a text that says who holds the lock.
    """
    with contextlib.ExitStack() as held:
        for path in paths:
            with contextlib.suppress(OSError):
                if not is_remote(path):
                    held.enter_context(wait_for_lock(beside(Path(path)), says))
                    break
        yield


def _links(folder: str) -> set[str]:
    """Return the names in a folder that are links."""
    try:
        with os.scandir(folder) as found:
            return {entry.name for entry in found if entry.is_symlink()}
    except OSError:
        return set()


def _not_there(key: str, value: str, kind: str, exists: bool) -> UserError:
    if not exists:
        folder, _, name = expanded(key, value).rstrip("/").rpartition("/")
        near = suggest(name, names(folder or "."))
        return bad_value(key, value, f"an existing {kind}", near or f"Set {key} to its path.")
    other, source = ("file", "csv") if kind == "folder" else ("folder", "folder")
    return bad_value(
        key, f"{value}, which is a {other}", f"a {kind}", f"dataset={source} reads a {other}"
    )


def _remote_entries(folder: str) -> list[tuple[str, bool]]:
    found = []
    for name in tf.io.gfile.listdir(folder):
        is_folder, name = name.endswith("/"), name.rstrip("/")
        if listing.is_litter(name):
            continue
        # Object stores mark folders with a slash. In other storage, query only names without a dot.
        is_folder = is_folder or ("." not in name and tf.io.gfile.isdir(f"{folder}/{name}"))
        found.append((name, is_folder))
    return sorted(found)


def _check_utf8(folder: str, name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError as error:
        shown = name.encode(errors="backslashreplace").decode()
        raise UserError(
            f"dataset.data_dir: got the name {shown} in {folder}, expected names in UTF-8\n"
            "  rename it"
        ) from error
