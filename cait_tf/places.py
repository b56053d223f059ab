"""The user's home directory and caches, where the process has them."""

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
    """A path begins with ``~``, and the process has no home directory."""


def home() -> Path | None:
    """The user's home directory: ``$HOME``, else the system's record of the user.

    Returns:
        `None` where neither names an absolute path. The directory need not exist.
    """
    given = os.environ.get("HOME") or _home_on_record()
    return Path(given) if os.path.isabs(given) and given != _StandIn.place else None


def _home_on_record() -> str:
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_dir
    except ImportError:  # Windows, which has other variables
        return os.path.expanduser("~")
    except KeyError:  # a user without a record, as in a container
        return ""


def expanded(key: str, path: str | os.PathLike[str]) -> str:
    """The path with ``~`` and ``~name`` as home directories.

    A name that is no user's stays: ``~draft.png`` is a file.

    Args:
        key: what the user set to `path`, for the message.

    Raises:
        NoHome: the path begins with ``~`` alone, and there is no home directory.
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
    """Where a user's caches are: ``$XDG_CACHE_HOME`` if absolute, else ``~/.cache``.

    Returns:
        `None` where the home directory is unknown or missing.
    """
    given = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(given):
        return Path(given)
    place = usable_home()
    return place / ".cache" if place else None


def cache_path(path: str | os.PathLike[str]) -> Path | None:
    """The directory that a configured cache is in; `None` where there is no place for it.

    ``~/.cache`` is below ``$XDG_CACHE_HOME`` where there is no home directory.
    """
    path = os.fspath(path)
    if not path.startswith("~/") and path != "~":
        return Path(os.path.expanduser(path))
    if place := usable_home():
        return place / path[2:]
    root = caches()
    return root / path.removeprefix(_CACHES) if root and path.startswith(_CACHES) else None


def warn_not_kept(reason: object = None) -> None:
    """Log, once a process, that nothing is kept for the next run.

    Args:
        reason: what a write failed with; `None`: there is no home directory.
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
    """Give libraries a place to write to where the home directory has none.

    Many expand ``~`` on import, and make a directory of that name where it is unknown. A temporary
    home directory takes its place, which `home` does not count. Where it exists and is read-only, it
    stays, as it may hold logins and downloads; Matplotlib alone would complain.
    """
    place = usable_home()
    if place is None:
        _StandIn.missing = home()
        _StandIn.place = os.environ["HOME"] = temporary_directory()
    elif "MPLCONFIGDIR" not in os.environ and not writable(place):
        os.environ["MPLCONFIGDIR"] = temporary_directory()


def writable(directory: str | os.PathLike[str]) -> bool:
    """Whether a file can be made in a directory. One is: permissions alone do not tell."""
    try:
        tempfile.TemporaryFile(dir=directory).close()
    except OSError:
        return False
    return True


@functools.cache
def temporary_directory() -> str:
    """A directory for this process, which is removed when the process ends."""
    place = tempfile.mkdtemp(prefix="cait-")
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return place


def usable_home() -> Path | None:
    """The home directory where it exists."""
    place = home()
    return place if place and place.is_dir() else None


class _StandIn:
    """The temporary home directory of this process, and the one that is missing."""

    place: str | None = None
    missing: Path | None = None


_warned: list[bool] = []
