"""File locks of the operating system, which releases a lock when its process ends for any reason."""

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

#: Error numbers of a file system without locks.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP)
_PAUSE = 0.1  # seconds between two attempts to acquire a lock


class InUse(Exception):
    """Another process, or another part of this process, holds the lock.

    The text names the holder: ``process 12 on node3 since …``, or ``another process`` if the file
    does not name the holder.
    """


class Lock:
    """A lock on a file. The lock stays on the file if the path is renamed or removed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)

    def acquire(self) -> None:
        """Acquire the lock, and write this process as the holder into the file.

        Raises:
            InUse: somebody else holds the lock.
        """
        _acquire(self._descriptor, self._path)
        _write_holder(self._descriptor)

    def release(self) -> None:
        """Release the lock."""
        os.close(self._descriptor)

    @property
    def in_place(self) -> bool:
        """Whether the path still leads to the locked file."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(self._path))
        except OSError:
            return False


@contextlib.contextmanager
def lock(path: Path) -> Iterator[Lock]:
    """Hold the lock of the file `path` inside the block. The file names the holder.

    The function creates the file, and the file stays after the block. On a file system without
    locks, the function logs a warning and the block runs without a lock.

    Raises:
        InUse: another process, or another part of this process, holds the lock.
        OSError: the file cannot be created.
    """
    while True:
        held = Lock(path)
        try:
            held.acquire()
            if not held.in_place:  # another process removed the file before the lock was acquired
                continue
            yield held
            return
        finally:
            held.release()


@contextlib.contextmanager
def wait_for_lock(path: Path, waiting: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Hold the lock of the file `path` inside the block, and wait while somebody else holds the lock.

    Args:
        waiting: called once with the text of `InUse`, if the function has to wait.

    Raises:
        OSError: the file cannot be created.
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
    """Return the path of a file's lock: a hidden file in the same folder."""
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
    with contextlib.suppress(OSError):  # on a full disk the lock is still held
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _holder(descriptor: int) -> str:
    try:
        holder = json.loads(os.pread(descriptor, 4096, 0))
        return f"process {holder['process']} on {holder['host']} since {holder['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
