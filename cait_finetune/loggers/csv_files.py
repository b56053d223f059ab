"""Write ``steps.csv`` and ``epochs.csv``: one row per record, for spreadsheets and data frames."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from cait_finetune.loggers.logger import Logger
from cait_tf.atomic import atomic_open


class CsvFiles(Logger):
    """Writes two tables to `directory`, each with one column per name in its records so far."""

    name: ClassVar[str] = "csv"

    def __init__(self, directory: Path) -> None:
        self._paths = {kind: directory / f"{kind}s.csv" for kind in ("step", "epoch")}
        self._columns: dict[str, list[str]] = {kind: [] for kind in self._paths}

    def begin(self, config: Mapping[str, Any], resumed: bool) -> None:
        """Delete both tables. A resumed run passes all its earlier records again."""
        for path in self._paths.values():
            path.unlink(missing_ok=True)

    def record(self, kind: str, values: Mapping[str, float]) -> None:
        """Append a row. A new name, for example in a later phase of a run, adds a column."""
        path, columns = self._paths[kind], self._columns[kind]
        new = [name for name in values if name not in columns]
        if new:
            rows = _read(path) if columns else []
            columns += new
            with atomic_open(path, newline="") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(rows)
        with open(path, "a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, columns).writerow(values)


def _read(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
