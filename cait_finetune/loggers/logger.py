"""What a logger is asked to write, in the order in which a run has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar


class Logger:
    """One place that a run is written to: it overrides what it has a place for, and ignores the rest.

    Every method may raise: `Loggers` then goes on without it.
    """

    name: ClassVar[str]

    def begin(self, config: Mapping[str, Any], resumed: bool) -> None:
        """Before everything else: the resolved configuration.

        When the run goes on (`resumed`) the records that it has so far come again, all of them.
        What was written after these must not stay, nor anything be written twice.
        """

    def reopen(self, config: Mapping[str, Any], step: int) -> None:
        """Instead of `begin`: of a run that ended after `step` steps nothing comes again."""

    def record(self, kind: str, values: Mapping[str, float]) -> None:
        """A line of ``metrics.jsonl``, of `kind` ``step`` or ``epoch``; both have `step` and `epoch`."""

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Such as the parameter table; again when the run goes on."""

    def result(self, metrics: Mapping[str, float]) -> None:
        """The numbers of ``result.json``."""

    def picture(self, name: str, path: Path) -> None:
        """A PNG file."""

    def confusion_matrix(
        self, truth: Sequence[int], predicted: Sequence[int], class_names: Sequence[str]
    ) -> None:
        """What the images of the test split are, and what the model says."""

    def artifact(self, name: str, path: Path, aliases: Sequence[str]) -> None:
        """A file or directory to keep beside the metrics."""

    def finish(self, exit_code: int) -> None:
        """The run is over; 0 is success."""
