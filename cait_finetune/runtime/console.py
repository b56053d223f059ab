"""The console that prints text unchanged."""

from __future__ import annotations

from typing import Any

from rich.console import Console


def plain_console(**options: Any) -> Console:
    """Return a console that prints ``[red]`` and ``:car:`` in the name of a class or file unchanged.

    The console does not wrap long lines, so that users can copy a whole path or command. Callers
    set a colour with ``style=``.

    Args:
        options: arguments of ``rich.console.Console``.
    """
    return Console(
        **{"soft_wrap": True, "highlight": False, "markup": False, "emoji": False} | options
    )
