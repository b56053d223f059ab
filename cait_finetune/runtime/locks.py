"""Locks of the operating system, which it releases when a process ends, however that ends."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

logger = logging.getLogger(__name__)

#: What a file system says that has no locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
_PAUSE = 0.1  # seconds between two looks at a lock that somebody else holds


class InUse(Exception):
    """Somebody else holds the lock; the text says who: ``process 12 on node3 since …``."""


class Lock:
    """A lock that is held. It belongs to a file, which can be moved or removed from its path."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)

    def acquire(self) -> None:
        """Hold the lock, and write into its file who does."""
        _acquire(self._descriptor, self._path)
        _write_holder(self._descriptor)

    def release(self) -> None:
        """Let others hold it."""
        os.close(self._descriptor)

    @property
    def in_place(self) -> bool:
        """Whether the file at the path is still the one that is locked."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self._path))
        except OSError:
            return False


@contextlib.contextmanager
def lock(path: Path) -> Iterator[Lock]:
    """Hold the lock in the file `path`, which is made and stays; the file names its holder.

    On a file system without locks there is a warning instead of a lock.

    Raises:
        InUse: another process holds it, or another part of this one.
        OSError: the file cannot be made.
    """
    while True:
        held = Lock(path)
        try:
            held.acquire()
            if not held.in_place:  # it was removed between the two calls
                continue
            yield held
            return
        finally:
            held.release()


@contextlib.contextmanager
def wait_for_lock(path: Path, waiting: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """`lock`, but wait while somebody else holds it.

    Args:
        waiting: called once with who that is, if so.

    Raises:
        OSError: the file cannot be made.
    """
    with contextlib.ExitStack() as held:
        said = False
        while True:
            try:
                held.enter_context(lock(path))
                break
            except InUse as error:
                if not said:
                    waiting(str(error))
                said = True
            time.sleep(_PAUSE)
        yield


def beside(path: Path) -> Path:
    """The lock of a file: hidden, in the same folder."""
    return path.with_name(f".{path.name}.lock")


def _acquire(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InUse(_holder(descriptor)) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        logger.warning(
            "%s: its file system has no locks; do not start a second process on it", path.parent
        )


def _write_holder(descriptor: int) -> None:
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    holder = {"process": os.getpid(), "host": socket.gethostname(), "since": since}
    with contextlib.suppress(OSError):  # a full disk: it is held all the same
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {holder['process']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
