"""Progress bars: the count, the rate and the remaining time."""

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

#: Advances the bar by a count, and may replace the text before the bar.
Advance = Callable[..., None]


@contextlib.contextmanager
def progress_bar(
    words: str, total: float, console: Console | None = None, unit: str = "img"
) -> Iterator[Advance]:
    """Show a progress bar on a terminal; yield ``advance(count=1, words=None)``.

    Args:
        words: the text before the bar.
        total: the count at the end.
        console: `None`: standard error.
        unit: unit of the rate. Empty: the bar shows no rate.
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
    """Return a bar over all steps of a run. The loop sets the fields ``epoch`` and ``metrics``."""
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
