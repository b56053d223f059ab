"""What is known so far, kept in a file: a comparison that was cut off goes on where it stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from cait_finetune.benchmark.transfer.cell import Cell
from cait_finetune.benchmark.transfer.run import Result


class Results:
    """A line for each run: its command line, what the run depends on besides, and its result.

    Args:
        basis: the checksum of all that a cell's run depends on besides its command line. Lines with
            another, or with none, are ignored.
    """

    def __init__(self, path: Path, basis: Callable[[Cell], str]) -> None:
        self._path = path
        self._basis = basis
        self._known: dict[tuple[str, str], Result] = {}
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        for line in text.splitlines():
            # The last line of a comparison that was cut off may be half a line; of older ones each
            # lacks its basis.
            with contextlib.suppress(json.JSONDecodeError, KeyError, TypeError):
                record = json.loads(line)
                self._known[record["words"], record["basis"]] = Result(**record["result"])
        if text and not text.endswith("\n"):
            with open(path, "a", encoding="utf-8") as file:
                file.write("\n")

    def __contains__(self, cell: Cell) -> bool:
        return self._key(cell) in self._known

    def __getitem__(self, cell: Cell) -> Result:
        return self._known[self._key(cell)]

    def add(self, cell: Cell, result: Result) -> None:
        """Keep one, at once."""
        words, basis = key = self._key(cell)
        self._known[key] = result
        record = {"words": words, "basis": basis, "result": dataclasses.asdict(result)}
        with open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def _key(self, cell: Cell) -> tuple[str, str]:
        return " ".join(cell.words), self._basis(cell)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The results of one data set, in percent.

    Attributes:
        images: how many are trained on, of each share.
        test: of each method ``(shares, seeds)``.
    """

    dataset: str
    shares: Sequence[float]
    images: Sequence[int]
    test: dict[str, np.ndarray]

    def gain(self, method: str, over: str) -> np.ndarray:
        """Points that a method is better by with the same images and seed, ``(shares, seeds)``."""
        return self.test[method] - self.test[over]
