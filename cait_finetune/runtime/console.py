"""The console that we print to: words as they are."""

from __future__ import annotations

from typing import Any

from rich.console import Console


def plain_console(**options: Any) -> Console:
    """A console on which ``[red]`` and ``:car:`` are what a class, a file or an option may be called.

    Long lines are left to the terminal, so that a path or a command can be copied whole; what is to
    have a colour is printed with ``style=``.

    Args:
        options: of ``rich.console.Console``.
    """
    return Console(
        **{"soft_wrap": True, "highlight": False, "markup": False, "emoji": False} | options
    )
