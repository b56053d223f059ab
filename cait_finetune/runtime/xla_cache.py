"""Keep the code that XLA compiled for a CPU, so that the next run reaches its first step sooner.

TensorFlow writes the cache to a directory. TensorFlow reads the directory's name once, when it is
loaded, from an environment variable. TensorFlow never deletes a file, stops at a damaged file, and
compares neither the machine nor the flags. This module removes damaged and old files, and uses one
directory per machine and flags.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.metadata
import logging
import os
import platform
import shlex
import shutil
import zlib
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from cait_tf.atomic import write_text
from cait_tf.places import cache_path, warn_not_kept

logger = logging.getLogger(__name__)

_VARIABLE, _FLAG = "TF_XLA_FLAGS", "--tf_xla_persistent_cache_directory"
_CPUS_ONLY = "--tf_xla_persistent_cache_device_types=CPU"
_CHANGE_CODE = (_VARIABLE, "XLA_FLAGS", "TF_ENABLE_ONEDNN_OPTS")
_SEAL = ".sum"  # suffix of the file with the checksum, which a run writes when it ends normally
_ROOM = 100_000_000  # bytes that must be free
_LARGEST = 500_000_000  # bytes of all files in total


def keep_compiled(directory: Path | None, environment: MutableMapping[str, str]) -> Path | None:
    """Make TensorFlow keep compiled code in `directory`. Call the function before TensorFlow is loaded.

    If the directory cannot be used, the function logs a warning and keeps nothing. If
    ``TF_XLA_FLAGS`` already names a cache directory, the function changes nothing.

    Args:
        directory: ``~`` is the home directory. `None`: nothing is kept.
        environment: the environment variables, in which the function sets TensorFlow's flags.

    Returns:
        The directory for `seal` at the end of the run. `None`: this module keeps nothing.
    """
    flags = environment.get(_VARIABLE, "")
    if directory is None or _FLAG in flags:
        return None
    root = cache_path(directory)
    if root is None:
        warn_not_kept()
        return None
    place = root.absolute() / conditions(environment)
    try:
        place.mkdir(parents=True, exist_ok=True)
        if not os.access(place, os.W_OK):
            raise PermissionError(f"{place} is read only")
        remove_damaged(place)
        remove_oldest(place, _LARGEST)
        if (
            shutil.disk_usage(place).free < _ROOM
        ):  # TensorFlow stops a step whose code it cannot keep
            raise OSError(errno.ENOSPC, f"{place} has less than {_ROOM // 10**6} MB of free space")
    except OSError as error:
        if str(directory).startswith("~"):
            warn_not_kept(error)
        else:
            logger.warning("train.compile_cache_dir: %s: compiled code is not kept", error)
        return None
    environment[_VARIABLE] = f"{flags} {_FLAG}={shlex.quote(str(place))} {_CPUS_ONLY}".strip()
    return place


def conditions(environment: Mapping[str, str]) -> str:
    """Return a directory name that identifies the TensorFlow version, the CPU and the compiler flags.

    Machines with different CPUs may share a home directory. TensorFlow does not compare flags: it
    would load code that was compiled with other flags.

    Returns:
        The first 16 hex digits of a SHA-256 checksum.
    """
    cpu = platform.processor()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next(line for line in lines if line.startswith(("flags", "Features")))
    version = importlib.metadata.version("tensorflow")
    flags = (environment.get(name, "") for name in _CHANGE_CODE)
    facts = "\n".join((version, platform.system(), platform.machine(), cpu, *flags))
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def seal(directory: Path | None) -> None:
    """Write the missing checksums of cache files. Call it when a run ends normally.

    At that time TensorFlow has written every file completely.

    Args:
        directory: from `keep_compiled`. `None`: do nothing.
    """
    if directory is None:
        return
    with contextlib.suppress(OSError):
        for path in _files(directory):
            if not _seal_of(path).exists():
                write_text(_seal_of(path), _checksum(path))


def remove_damaged(directory: Path) -> None:
    """Remove every cache file that has no checksum or does not match its checksum."""
    for path in _files(directory):
        if not _seal_of(path).exists() or _seal_of(path).read_text(encoding="utf-8") != _checksum(
            path
        ):
            _remove(path)


def remove_oldest(directory: Path, largest: int) -> None:
    """Remove the oldest cache files until the rest have at most `largest` bytes in total."""
    files = sorted(_files(directory), key=lambda path: path.stat().st_mtime)
    total = sum(path.stat().st_size for path in files)
    for path in files:
        if total <= largest:
            return
        total -= path.stat().st_size
        _remove(path)


def _files(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.pb"))


def _seal_of(path: Path) -> Path:
    return path.with_name(path.name + _SEAL)


def _checksum(path: Path) -> str:
    return f"{zlib.crc32(path.read_bytes()):08x}"


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)  # another run may have removed it first
    _seal_of(path).unlink(missing_ok=True)
