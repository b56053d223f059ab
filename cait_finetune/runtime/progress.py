"""The progress bar of what goes through images once: how many, how fast, how long still."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


class ImageProgress:
    """A bar that goes when it is done; to be entered as a context.

    Args:
        total: images.
    """

    def __init__(self, console: Console, name: str, total: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]} img/s"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task: TaskID = self._progress.add_task(name, total=total, rate="–")

    def __enter__(self) -> ImageProgress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def advance(self, images: int) -> None:
        """So many more are done."""
        speed = self._progress.tasks[self._task].speed
        self._progress.update(self._task, advance=images, rate=f"{speed:.0f}" if speed else "–")
