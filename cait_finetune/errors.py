"""What a user can get wrong, said in one message."""

from __future__ import annotations

import difflib
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


def suggest(name: str, known: Iterable[str]) -> str:
    """``"did you mean …?"`` when a known name is near, else an empty string."""
    near = difflib.get_close_matches(str(name), list(known), n=3, cutoff=0.6)
    return f"did you mean {' or '.join(near)}?" if near else ""
