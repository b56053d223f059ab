"""What XLA compiled for a CPU, kept for the next run: some seconds less before its first step.

TensorFlow keeps it, in a directory named in an environment variable that it reads once, when it is
loaded. It keeps it for ever, refuses to go on at a file that is damaged, and does not ask which
machine it runs on, nor with which flags; all of that is seen to here.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import logging
import os
import platform
import shlex
import zlib
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from cait_tf.atomic import write_text
from cait_tf.places import cache_path, warn_not_kept

logger = logging.getLogger(__name__)

_VARIABLE, _FLAG = "TF_XLA_FLAGS", "--tf_xla_persistent_cache_directory"
_CPUS_ONLY = "--tf_xla_persistent_cache_device_types=CPU"
_CHANGE_CODE = (_VARIABLE, "XLA_FLAGS", "TF_ENABLE_ONEDNN_OPTS")
_SEAL = ".sum"  # beside a file: the checksum of what a run that came to its end has written
_LARGEST = 500_000_000  # bytes, of all files together


def keep_compiled(directory: Path | None, environment: MutableMapping[str, str]) -> Path | None:
    """Have TensorFlow, which must not be loaded yet, keep in `directory` what it compiles.

    A directory that cannot be written is a warning, and who has set the variable's flag is left alone.

    Args:
        directory: ``~`` is the home directory; `None`: nothing is kept.

    Returns:
        The folder to `seal` at the end; `None` where nothing is kept.
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
    except OSError as error:
        if str(directory).startswith("~"):
            warn_not_kept(error)
        else:
            logger.warning("train.compile_cache_dir: %s: what is compiled is not kept", error)
        return None
    environment[_VARIABLE] = f"{flags} {_FLAG}={shlex.quote(str(place))} {_CPUS_ONLY}".strip()
    return place


def conditions(environment: Mapping[str, str]) -> str:
    """The checksum of what compiled code depends on besides the program, for a folder's name.

    That is TensorFlow, what the CPU can do, as machines may share a home directory, and the flags in
    the environment: TensorFlow finds code that was compiled with other ones.
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
    """Write the checksums of the files that have none: they are whole, as this process ends well."""
    if directory is None:
        return
    with contextlib.suppress(OSError):
        for path in _files(directory):
            if not _seal_of(path).exists():
                write_text(_seal_of(path), _checksum(path))


def remove_damaged(directory: Path) -> None:
    """Remove the files that are not as they were written, or of which nobody knows."""
    for path in _files(directory):
        if not _seal_of(path).exists() or _seal_of(path).read_text(encoding="utf-8") != _checksum(
            path
        ):
            _remove(path)


def remove_oldest(directory: Path, largest: int) -> None:
    """Remove the files written first until the others have at most `largest` bytes together."""
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
    path.unlink(missing_ok=True)  # another run may have been faster
    _seal_of(path).unlink(missing_ok=True)
