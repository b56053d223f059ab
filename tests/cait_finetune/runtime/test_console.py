"""The console prints names unchanged."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest
from rich.table import Table

from cait_finetune.runtime.console import plain_console

SOURCES = Path(__file__).resolve().parents[3] / "cait_finetune"


@pytest.mark.parametrize(
    "name", ["[red]x[/b]", "[/b]", "logger=[csv,wandb]", "[img] 20.png", ":car:"]
)
def test_the_console_prints_markup_in_names_unchanged(name):
    console = plain_console(file=io.StringIO(), width=60)
    console.print(f"best {name}")
    table = Table("file", name)
    table.add_row(name, "cat")
    console.print(table)
    assert console.file.getvalue().count(name) == 3


def test_a_long_line_is_left_to_the_terminal():
    console = plain_console(file=io.StringIO(), width=10)
    console.print("a path of many letters")
    assert console.file.getvalue() == "a path of many letters\n"


def test_only_console_py_creates_a_console():
    made = [path.name for path in SOURCES.rglob("*.py")
            if re.search(r"\bConsole\(", path.read_text())]  # fmt: skip
    assert made == ["console.py"]
