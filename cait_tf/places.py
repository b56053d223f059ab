"""Find the user's home directory and caches, and replace a missing home directory."""

from __future__ import annotations

import atexit
import functools
import logging
import os
import shutil
import tempfile
from pathlib import Path

from cait_tf.errors import CaiTError

logger = logging.getLogger(__name__)

_CACHES = "~/.cache/"


class NoHome(CaiTError):
    """A path begins with ``~``, but the process has no home directory."""


def home() -> Path | None:
    """Return the user's home directory: ``$HOME`` if set, else the system's record of the user.

    Returns:
        The directory, which need not exist. `None`: the path is not absolute, or ``$HOME`` is the
        temporary home directory of `prepare_home`.
    """
    given = os.environ.get("HOME") or _home_on_record()
    return Path(given) if os.path.isabs(given) and given != _StandIn.place else None


def _home_on_record() -> str:
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_dir
    except ImportError:  # Windows, where expanduser reads other variables
        return os.path.expanduser("~")
    except KeyError:  # the user has no record, as in a container
        return ""


def expanded(key: str, path: str | os.PathLike[str]) -> str:
    """Return the path with ``~`` and ``~name`` replaced by home directories.

    If `name` is not a user, the path stays unchanged: ``~draft.png`` is a file.

    Args:
        key: the setting that holds `path`, for the message.

    Raises:
        NoHome: the path is ``~`` or begins with ``~/``, and the process has no home directory.
    """
    text = os.fspath(path)
    first, slash, rest = text.partition("/")
    if first != "~":
        return os.path.expanduser(text)
    place = home()
    if place is None:
        raise NoHome(
            f"{key}: got {text}, expected a path without ~, as this process has no home directory\n"
            "  Set HOME, or write the whole path."
        )
    return os.path.join(place, rest) if slash else str(place)


def caches() -> Path | None:
    """Return the user's cache directory: ``$XDG_CACHE_HOME`` if absolute, else ``~/.cache``.

    Returns:
        `None`: ``$XDG_CACHE_HOME`` is not absolute, and the home directory is unknown or missing.
    """
    given = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):
        return Path(given)
    place = usable_home()
    return place / ".cache" if place else None


def cache_path(path: str | os.PathLike[str]) -> Path | None:
    """Return the directory of a configured cache. `None`: the home directory in `path` is missing.

    Without a home directory, ``$XDG_CACHE_HOME`` replaces ``~/.cache``.
    """
    path = os.fspath(path)
    if not path.startswith("~/") and path != "~":
        return Path(os.path.expanduser(path))
    if place := usable_home():
        return place / path[2:]
    root = caches()
    return root / path.removeprefix(_CACHES) if root and path.startswith(_CACHES) else None


def warn_not_kept(reason: object = None) -> None:
    """Log, once per process, that the caches keep nothing for the next run.

    Args:
        reason: the error of a failed write. `None`: the home directory is unknown or missing.
    """
    if _warned:
        return
    _warned.append(True)
    place = home() or _StandIn.missing
    missing = f"{place}, which does not exist" if place else "no home directory"
    logger.warning(
        "caches: got %s; nothing is kept for the next run\n"
        "  Set HOME or XDG_CACHE_HOME to a directory that can be written.",
        missing if reason is None else reason,
    )


def prepare_home() -> None:
    """Give libraries a writable directory if the home directory is missing or read-only.

    Many libraries expand ``~`` on import, and make a directory called ``~`` if the home directory
    is unknown. If the home directory is missing, a temporary directory becomes ``$HOME``; `home`
    ignores it. A read-only home directory stays, because it may hold logins and downloads. Only
    Matplotlib warns about a read-only home directory, so ``$MPLCONFIGDIR`` becomes a temporary
    directory.
    """
    place = usable_home()
    if place is None:
        _StandIn.missing = home()
        _StandIn.place = os.environ["HOME"] = temporary_directory()
    elif "MPLCONFIGDIR" not in os.environ and not writable(place):
        os.environ["MPLCONFIGDIR"] = temporary_directory()


def writable(directory: str | os.PathLike[str]) -> bool:
    """Whether a file can be made in a directory. Try it, because permissions are not conclusive."""
    try:
        tempfile.TemporaryFile(dir=directory).close()
    except OSError:
        return False
    return True


@functools.cache
def temporary_directory() -> str:
    """Return a temporary directory of this process. The end of the process removes it."""
    place = tempfile.mkdtemp(prefix="cait-")
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place


def usable_home() -> Path | None:
    """Return the home directory if it exists, else `None`."""
    place = home()
    return place if place and place.is_dir() else None


class _StandIn:
    """The temporary home directory of this process, and the missing one that it replaces."""

    place: str | None = None
    missing: Path | None = None


_warned: list[bool] = []
