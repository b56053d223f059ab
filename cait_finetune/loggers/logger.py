"""The interface of a logger: the methods that `Loggers` calls during a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple


class Confusion(NamedTuple):
    """The true and predicted classes of one label, from which a logger draws a confusion matrix.

    Attributes:
        truth: the true class index of each image.
        predicted: the predicted class index of each image.
        class_names: names of the classes.
        label: name of the label. Empty: each image has only one label.
    """

    truth: Sequence[int]
    predicted: Sequence[int]
    class_names: Sequence[str]
    label: str = ""


class Logger:
    """A logger of a run. Subclasses override the methods for the records that they can store.

    Every method may raise an error: `Loggers` then continues without the logger.
    """

    name: ClassVar[str]

    def begin(self, config: Mapping[str, Any], resumed: bool) -> None:
        """Start the log. The run calls this method first.

        A resumed run passes all its earlier records again. The logger must write none of these
        records twice, and must remove every later record from the log.

        Args:
            config: the resolved configuration.
            resumed: whether the run is resumed.
        """

    def reopen(self, config: Mapping[str, Any], step: int) -> None:
        """Open the log of a run that finished after `step` steps.

        The call replaces `begin`. No earlier record follows.
        """

    def record(self, kind: str, values: Mapping[str, float]) -> None:
        """Log a line of ``metrics.jsonl``.

        Args:
            kind: ``step`` or ``epoch``.
            values: the numbers of the line, always with `step` and `epoch`.
        """

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Log a table, such as the parameter table. A resumed run passes its tables again."""

    def result(self, metrics: Mapping[str, float]) -> None:
        """Log the numbers of ``result.json``."""

    def picture(self, name: str, path: Path) -> None:
        """Log a PNG file."""

    def confusion_matrix(self, confusion: Confusion) -> None:
        """Log the confusion matrix of the test split for one label."""

    def artifact(self, name: str, path: Path, aliases: Sequence[str]) -> None:
        """Store a file or directory along with the metrics."""

    def finish(self, exit_code: int) -> None:
        """Close the log. An exit code of 0 means that the run succeeded."""
