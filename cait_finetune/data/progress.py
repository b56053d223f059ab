"""The progress bar of what goes through a data set once before training."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from cait_finetune.runtime.console import plain_console


@contextlib.contextmanager
def progress_bar(
    words: str, total: int, console: Console | None = None
) -> Iterator[Callable[[int], None]]:
    """Show a bar on a terminal and yield ``advance(images)``.

    Args:
        console: `None`: standard error.
    """
    console = console or plain_console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} img/s"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(words, total=total, rate="–")

        def advance(images: int) -> None:
            speed = progress.tasks[task].speed
            progress.update(task, advance=images, rate=f"{speed:,.0f}" if speed else "–")

        yield advance
