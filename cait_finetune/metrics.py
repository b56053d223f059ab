"""``metrics.jsonl``: one JSON object for each logged step and each epoch."""

from __future__ import annotations

import json
from pathlib import Path


class MetricsLog:
    """Appends records to a file, each complete on disk when `write` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, kind: str, **values: float) -> None:
        """Append ``{"kind": kind, …}``; `kind` is ``step`` or ``epoch``."""
        with open(self.path, "a") as file:
            file.write(json.dumps({"kind": kind, **values}) + "\n")

    def read(self, kind: str) -> list[dict]:
        """The records of a kind, in order."""
        records = [json.loads(line) for line in self.path.read_text().splitlines()]
        return [record for record in records if record["kind"] == kind]
