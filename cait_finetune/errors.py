"""Errors that a user can correct, each shown as one message."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """An error that is shown without a traceback.

    The constructor takes the whole message, because OmegaConf raises the error again from its
    message.
    """

    def _render_traceback_(self) -> list[str]:
        """Return the lines that IPython shows for the error."""
        return [str(self)]


class Interrupted(BaseException):
    """A signal asked the process to end, or another worker is gone. The process exits with `code`.

    A library that catches `Exception` does not catch this class. The constructor takes the whole
    message, so a library can raise the error again from its message.
    """

    #: EX_TEMPFAIL of sysexits.h: a job script should start the command again, to resume the run.
    code = 75


class InterruptedByUser(Interrupted):
    """Ctrl-C asked the process to end."""

    code = 130


def bad_value(key: str, got: object, expected: str, hint: str = "") -> UserError:
    """Return the usual error: ``key: got …, expected …``, then the hint on a line of its own."""
    message = f"{key}: got {got}, expected {expected}"
    return UserError(f"{message}\n  {hint}" if hint else message)


def reason(error: BaseException) -> str:
    """Return the first line of an error's text, or its type's name where the text is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def suggest(name: str, known: Iterable[str]) -> str:
    """Return ``"did you mean …?"`` with the known names closest to `name`, or an empty string."""
    listed = list(known)
    near = [one for one in listed if name and one.startswith(str(name))][:3]
    near = near or difflib.get_close_matches(str(name), listed, n=3, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else ""
