"""Read and write ``metrics.jsonl``: one JSON object per logged step and per epoch.

The first line has the id of the run, so that a file copied from another run is noticed.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

from cait_finetune.errors import bad_value
from cait_tf.atomic import naming

logger = logging.getLogger(__name__)


class MetricsLog:
    """Append records to a file.

    Args:
        writes: if false, as on all workers but the first, write nothing.
        run: the id of the run, for the first line. Empty: no such line.
    """

    def __init__(self, path: Path, writes: bool = True, run: str = "") -> None:
        self.path = path
        self._first = [{"kind": "run", "run": run}] if run else []
        self._writes = writes
        self._followers: list[Callable[[str, dict[str, float]], None]] = []

    def follow(self, follower: Callable[[str, dict[str, float]], None]) -> None:
        """Call `follower` with the kind and values of each record after it is written."""
        self._followers.append(follower)

    def write(self, kind: str, **values: float) -> None:
        """Append ``{"kind": kind, …}``. `kind` is ``step`` or ``epoch``."""
        if not self._writes:
            return
        with naming(self.path), open(self.path, "a", encoding="utf-8") as file:
            records = [*(self._first if not self.size else []), {"kind": kind, **values}]
            file.write("".join(json.dumps(record) + "\n" for record in records))
        for follower in self._followers:
            follower(kind, values)

    @property
    def run(self) -> str:
        """The id in the first line. Empty: the line is missing or damaged."""
        try:
            with open(self.path, "rb") as file:
                return _record(file.readline()).get("run", "")
        except (OSError, ValueError):
            return ""

    @property
    def size(self) -> int:
        """Size of the file in bytes. 0: the file does not exist."""
        return self.path.stat().st_size if self.path.exists() else 0

    def cut(self, size: int, step: int = 0) -> None:
        """Truncate the file to the complete lines in its first `size` bytes.

        A warning names the remaining records if the file has fewer than `size` bytes of complete lines.
        A file that was copied during training may have fewer.

        Args:
            size: number of bytes to keep.
            step: last step in the first `size` bytes, for the warning.
        """
        if not self._writes:
            return
        found = self.path.read_bytes()[:size] if self.path.exists() else b""
        kept = found.rfind(b"\n") + 1
        if self.path.exists():
            os.truncate(self.path, kept)
        if kept < size:
            logger.warning("%s", self._describe_loss(step))

    def _describe_loss(self, step: int) -> str:
        records = self.read()
        last = max((record.get("step", 0) for record in records), default=0)
        epochs = [record["epoch"] for record in records if record["kind"] == "epoch"]
        left = f"epochs {', '.join(map(str, epochs))}" if epochs else "no epoch"
        return (
            f"{self.path}: got records up to step {last} with {left}, expected all up to step {step}\n"
            "  The model is not affected: the curves, the report and the loggers lack the lost records"
        )

    def read(self, kind: str | None = None) -> list[dict]:
        """Return the records in order, without an incomplete last line.

        Args:
            kind: ``step`` or ``epoch``. `None`: both.

        Raises:
            UserError: a complete line is damaged.
        """
        if not self.path.exists():
            return []
        written = self.path.read_bytes()
        try:
            records = [_record(line) for line in written[: written.rfind(b"\n") + 1].splitlines()]
        except ValueError as error:
            raise bad_value(
                self.path.name, f"{self.path} ({error})", "a JSON object in each line",
                "remove the other lines",
            ) from error  # fmt: skip
        return [one for one in records if one["kind"] in ((kind,) if kind else ("step", "epoch"))]


def _record(line: bytes) -> dict:
    record = json.loads(line)
    if not isinstance(record, dict) or "kind" not in record:
        raise ValueError(f"a line without a kind: {line[:40].decode(errors='replace')}")
    return record
