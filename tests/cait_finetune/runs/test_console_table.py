"""A table on consoles of any width."""

from __future__ import annotations

import io

from rich.console import Console

from cait_finetune.runs.console_table import show_table


def test_a_narrow_console_cuts_nothing():
    header = ["run", "optimizer.base_lr", "validation_top1", "test_top1", "seconds"]
    console = Console(width=40, record=True, file=io.StringIO())
    show_table(header, [["3 runs", "0.0001", "46.67% ± 57.37", "23.33% ± 28.68", "12"]], console)
    text = "".join(console.export_text().split("│")).replace(" ", "").replace("\n", "")
    assert "…" not in text
    for character in "optimizer.base_lr":
        assert character in text
