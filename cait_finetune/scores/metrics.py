"""``metrics.jsonl``: one JSON object for each logged step and each epoch."""

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
    """Appends records to a file. Where `writes` is false, as on all workers but the first, to none."""

    def __init__(self, path: Path, writes: bool = True) -> None:
        self.path = path
        self._writes = writes
        self._followers: list[Callable[[str, dict[str, float]], None]] = []

    def follow(self, follower: Callable[[str, dict[str, float]], None]) -> None:
        """Give `follower` the kind and values of each record, too, after it is written."""
        self._followers.append(follower)

    def write(self, kind: str, **values: float) -> None:
        """Append ``{"kind": kind, …}``; `kind` is ``step`` or ``epoch``."""
        if not self._writes:
            return
        with naming(self.path), open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps({"kind": kind, **values}) + "\n")
        for follower in self._followers:
            follower(kind, values)

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self.path.stat().st_size if self.path.exists() else 0

    def cut(self, size: int, step: int = 0) -> None:
        """Forget what was written after the first `size` bytes, and a line that is not whole.

        A warning names the records that are left where the file has not `size` bytes of whole lines,
        as one that was copied while the run trained.

        Args:
            step: the last step that belongs to the first `size` bytes; for the warning.
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
        """The records of a kind, or all of them, in order; not a last line that is not whole.

        Raises:
            UserError: another line is damaged.
        """
        if not self.path.exists():
            return []
        written = self.path.read_bytes()
        try:
            records = [_record(line) for line in written[: written.rfind(b"\n") + 1].splitlines()]
        except ValueError as error:
            raise bad_value(
                self.path.name, f"{self.path} ({error})", "a JSON object in each line",
                "remove the lines that are none",
            ) from error  # fmt: skip
        return [record for record in records if kind in (None, record["kind"])]


def _record(line: bytes) -> dict:
    record = json.loads(line)
    if not isinstance(record, dict) or "kind" not in record:
        raise ValueError(f"a line without a kind: {line[:40].decode(errors='replace')}")
    return record
