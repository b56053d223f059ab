"""The console that prints text unchanged."""

from __future__ import annotations

import logging
from typing import Any

from rich.console import Console
from rich.logging import RichHandler


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


def log_to(console: Console) -> None:
    """Print our warnings on `console`, whatever handlers TFDS gives the root logger."""
    ours = logging.getLogger("cait_finetune")
    ours.handlers = [RichHandler(console=console, show_time=False, show_path=False)]
    ours.propagate = False
