"""Print a table on a console of any width."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table


def show_table(header: Sequence[str], rows: Sequence[Sequence[str]], console: Console) -> None:
    """Print a table. On a narrow console titles and cells wrap, and no character is cut."""

    def table(titles: Sequence[str], padding: int) -> Table:
        table = Table(padding=(0, padding))
        for title in titles:
            table.add_column(title, overflow="fold")
        for row in rows:
            table.add_row(*row)
        return table

    wide = table(header, 1)
    if console.measure(wide, options=console.options.update(width=10_000)).maximum > console.width:
        breakable = [title.replace(".", ".\n").replace("_", "_\n") for title in header]
        console.print(table(breakable, 0))
    else:
        console.print(wide)
