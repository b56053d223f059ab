"""What stands where in a run's directory."""

from __future__ import annotations

import json
import os
from pathlib import Path

from cait_finetune.errors import bad_value

_OF_PATTERNS = "[]*?"


class RunDirectory:
    """Paths of one run. Creating it refuses a directory that already holds one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config = root / "config.yaml"
        self.command = root / "command.txt"
        self.parameters = root / "parameters.csv"
        self.metrics = root / "metrics.jsonl"
        self.curves = root / "curves.png"
        self.result = root / "result.json"
        self.checkpoints = root / "checkpoints"
        self.best_checkpoint = self.checkpoints / "best.safetensors"
        self.last_checkpoint = self.checkpoints / "last.safetensors"
        self.profile = root / "profile"
        self.export = root / "export"
        self.saved_model = self.export / "saved_model"
        self.tensorboard = root / "tensorboard"
        self.environment = root / "environment.json"
        self.predictions = root / "predictions"
        self.report = root / "report.html"
        self.parts = root / "report"

    def predictions_of(self, role: str) -> Path:
        """The logits of a split."""
        return self.predictions / f"{role}.npz"

    def read_command(self) -> str | None:
        """The command that the run was begun by; None where it was begun from Python."""
        return self.command.read_text().strip() if self.command.is_file() else None

    def create(self) -> None:
        """Make the directories.

        Raises:
            UserError: there is a run in it already that has saved something; or it cannot be
                written, or not by TensorFlow, which takes the path of a SavedModel for a pattern.
        """
        if signs := [sign for sign in _OF_PATTERNS if sign in str(self.root.absolute())]:
            raise bad_value(
                "hydra.run.dir",
                self.root,
                f"a path without {' '.join(signs)}",
                "TensorFlow takes it for a pattern, and cannot save a model there",
            )
        begun = self.result.exists() or any(self.checkpoints.glob("*"))
        if self.config.exists() and begun:
            raise bad_value(
                "hydra.run.dir",
                self.root,
                "a directory without a run; this one holds one, which is left as it is",
                "choose another, or leave the key out for one named by the time",
            )
        try:
            self.metrics.unlink(missing_ok=True)  # of one that ended before it had saved anything
            for directory in (self.checkpoints, self.saved_model.parent):
                directory.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise bad_value(
                "hydra.run.dir", self.root, f"a directory that can be written ({error.strerror})"
            ) from error

    def read_result(self) -> dict:
        """What ``result.json`` holds; nothing where the run has not got that far."""
        return json.loads(self.result.read_text()) if self.result.is_file() else {}

    def write_result(self, result: dict) -> None:
        """Write ``result.json``."""
        unfinished = self.result.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(result, indent=2) + "\n")
        os.replace(unfinished, self.result)
