"""Read the CSV files of a report."""

from __future__ import annotations

import csv
from pathlib import Path


def read_rows(path: Path) -> list[dict[str, str]] | None:
    """Return the rows of a CSV file by column name. `None`: the file does not exist."""
    if not path.exists():
        return None
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
