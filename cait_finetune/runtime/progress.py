"""Progress bars: how much is done, how fast, and how long the rest takes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from cait_finetune.runtime.console import plain_console

#: Adds to what is done, and may replace the words before the bar.
Advance = Callable[..., None]


@contextlib.contextmanager
def progress_bar(
    words: str, total: float, console: Console | None = None, unit: str = "img"
) -> Iterator[Advance]:
    """Show a bar on a terminal; yields ``advance(count=1, words=None)``.

    Args:
        words: what is done, before the bar.
        total: how many there are to do.
        console: `None`: standard error.
        unit: of the rate; an empty one shows no rate.
    """
    console = console or plain_console(stderr=True)
    rate = [TextColumn("{task.fields[rate]} " + f"{unit}/s")] if unit else []
    with _bar([TextColumn("{task.description}")], rate, console) as progress:
        task = progress.add_task(words, total=total, rate="–")

        def advance(count: float = 1, words: str | None = None) -> None:
            speed = progress.tasks[task].speed
            rate = f"{speed:,.0f}" if speed else "–"
            progress.update(task, advance=count, description=words, rate=rate)

        yield advance


def training_progress(console: Console) -> Progress:
    """A bar over all steps of a run; the loop fills its fields ``epoch`` and ``metrics``."""
    before, after = TextColumn("epoch {task.fields[epoch]}"), TextColumn("{task.fields[metrics]}")
    return _bar([before], [after], console)


def _bar(before: list[ProgressColumn], after: list[ProgressColumn], console: Console) -> Progress:
    return Progress(
        *before,
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        *after,
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
