"""What a user can get wrong, said in one message."""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable


class UserError(Exception):
    """Shown without a traceback. Takes the whole message, as OmegaConf re-raises it from that."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of it."""
        return [str(self)]


class Interrupted(BaseException):
    """A signal asked to end, or another worker is gone; the process exits with `code`.

    A library that catches `Exception` lets it through; one that builds what it caught anew, from its
    text alone, builds the same.
    """

    #: sysexits' EX_TEMPFAIL: start me again and I resume. For job scripts that requeue.
    code = 75


class InterruptedByUser(Interrupted):
    """Ctrl-C asked to end."""

    code = 130


def bad_value(key: str, got: object, expected: str, hint: str = "") -> UserError:
    """The usual message: ``key: got …, expected …``, then on a line of its own what to do."""
    message = f"{key}: got {got}, expected {expected}"
    return UserError(f"{message}\n  {hint}" if hint else message)


def os_error(error: OSError, then: str = "") -> UserError:
    """The message for a file that the system refuses, which says why truly.

    Args:
        error: names the file.
        then: what to do after the advice, in words that continue it.
    """
    expected, advice = _OF_SYSTEM.get(
        error.errno, ("a file that can be read and written", "Mend what is named above")
    )
    return bad_value(str(error.filename), error.strerror or error, expected, f"{advice}{then}")


_ROOM = ("a disk with room for it", "Free some space there")
_RIGHT = ("a place that this user may write to", "Change its permissions, or name another place")
#: What was expected, and what to do.
_OF_SYSTEM = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: _ROOM,
    errno.EACCES: _RIGHT,
    errno.EPERM: _RIGHT,
    errno.EROFS: _RIGHT,
    errno.ENOENT: ("an existing path", "Check its spelling, or put it back"),
    errno.ENOTDIR: ("a folder", "Remove the file that stands in its place, or name another place"),
    errno.EISDIR: ("a file", "Remove the folder that stands in its place, or name another place"),
    errno.EMFILE: ("fewer open files", "Raise the limit with ulimit -n"),
    errno.ENAMETOOLONG: ("a shorter name", "Name a place with a shorter path"),
    errno.EBUSY: ("a file that nobody else uses", "Wait for the other process"),
    errno.EIO: ("a disk that works", "Look for errors of the disk in the system's log"),
    errno.ESTALE: ("a network disk that answers", "Mount it again"),
}


def suggest(name: str, known: Iterable[str]) -> str:
    """``"did you mean …?"`` when a known name is near, else an empty string."""
    near = difflib.get_close_matches(str(name), list(known), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else ""
