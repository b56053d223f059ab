"""The table of measured accuracies beside the published ones: CSV for machines, Markdown for people."""

from __future__ import annotations

import csv
import dataclasses
import os
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """One measurement. Accuracies in percent; the published ones are None where there are none."""

    model: str
    weights: str
    dataset: str
    image_size: int
    crop_pct: float
    images: int
    top1: float
    top5: float
    published_top1: float | None = None
    published_top5: float | None = None

    @property
    def key(self) -> tuple:
        """What makes it another measurement."""
        return (self.model, self.weights, self.dataset, self.image_size, self.crop_pct)

    @property
    def difference(self) -> float | None:
        """Measured less published top-1, in points."""
        return None if self.published_top1 is None else self.top1 - self.published_top1


class AccuracyTable:
    """``accuracies.csv`` and ``accuracies.md`` in a directory; a row that is there stays there."""

    def __init__(self, directory: Path) -> None:
        self.csv = directory / "accuracies.csv"
        self.markdown = directory / "accuracies.md"
        self.rows = self._read() if self.csv.exists() else []

    def find(self, key: tuple) -> Accuracy | None:
        """The row of an `Accuracy.key`."""
        return next((row for row in self.rows if row.key == key), None)

    def add(self, row: Accuracy) -> None:
        """Write both files anew with one row more; an interruption leaves the old ones."""
        self.rows = sorted([*self.rows, row], key=lambda one: one.key)
        fields = [field.name for field in dataclasses.fields(Accuracy)]
        partial = self.csv.with_suffix(".partial")
        with open(partial, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(fields)
            for one in self.rows:
                values = [getattr(one, name) for name in fields]
                writer.writerow(["" if value is None else value for value in values])
        os.replace(partial, self.csv)
        partial.write_text(self._as_markdown())
        os.replace(partial, self.markdown)

    def _read(self) -> list[Accuracy]:
        numbers = {"image_size": int, "images": int} | dict.fromkeys(
            ("crop_pct", "top1", "top5", "published_top1", "published_top5"), float
        )
        with open(self.csv, newline="") as file:
            return [
                Accuracy(
                    **{
                        name: (numbers.get(name, str)(text) if text else None)
                        for name, text in line.items()
                    }
                )
                for line in csv.DictReader(file)
            ]

    def _as_markdown(self) -> str:
        lines = [
            "| model | weights | data set | size | crop | images | top-1 | published | difference "
            "| top-5 | published | difference |",
            "|---|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        for row in self.rows:
            lines.append(
                f"| `{row.model}` | {row.weights} | {row.dataset} | {row.image_size} | "
                f"{row.crop_pct:g} | {row.images:,} | {_beside(row.top1, row.published_top1)} | "
                f"{_beside(row.top5, row.published_top5)} |"
            )
        return "\n".join(lines) + "\n"


def _beside(measured: float, published: float | None) -> str:
    """Three cells: an accuracy, the published one, and the first less the second."""
    if published is None:
        return f"{measured:.3f} | – | –"
    return f"{measured:.3f} | {published:.3f} | {measured - published:+.3f}"
