"""Connect a run to its loggers, from before its first step to its end."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cait_finetune.config import Config
from cait_finetune.loggers.build import build_loggers
from cait_finetune.loggers.fan_out import Loggers
from cait_finetune.loggers.logger import Confusion
from cait_finetune.optim.parameters import group_rates
from cait_finetune.optim.phases import phase_at
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.scores.predictions import load_predictions
from cait_finetune.tasks import Task
from cait_finetune.workflow.prepared import Prepared


@contextlib.contextmanager
def logged(config: Config, prepared: Prepared) -> Iterator[Loggers]:
    """Inside the block, send every record of ``metrics.jsonl`` to the loggers as well.

    The loggers first get the records that the file already holds. Step records also have each layer
    group's learning rate. Only the first worker has loggers.
    """
    if not prepared.worker.chief:
        yield Loggers()
        return

    def record(kind: str, values: dict[str, float]) -> None:
        rates = {}
        if kind == "step":
            table = phase_at(prepared.plan.phases, int(values["step"])).table
            rates = group_rates(table, values["learning_rate"])
        loggers.record(kind, values | rates)

    with build_loggers(config.logger, prepared.run, prepared.worker.console) as loggers:
        loggers.begin(
            dataclasses.asdict(config),
            config.resume is not None,
            {"parameters": _read_table(prepared.run.parameters)},
        )
        for values in prepared.logbook.metrics.read():
            record(values.pop("kind"), values)
        prepared.logbook.metrics.follow(record)
        yield loggers


def conclude_loggers(
    loggers: Loggers, task: Task, run: RunDirectory, result: dict[str, Any]
) -> None:
    """Send the loggers the result, figures, best weights, exports and confusion data."""
    exports = run.saved_model.parent
    models = {"checkpoint": run.best_checkpoint}
    if exports.is_dir() and any(exports.iterdir()):
        models["export"] = exports
    pictures = [*run.root.glob("*.png"), *run.parts.glob("*.png")]
    loggers.conclude(
        result, {path.stem: path for path in sorted(pictures)}, models, _confusions(task, run)
    )


def _confusions(task: Task, run: RunDirectory) -> list[Confusion]:
    """Return the answers of the test split for each label that its images have.

    Empty: the predictions were not saved, or the task has no confusion matrix.
    """
    path = run.predictions_of("test")
    if "Confusion" not in task.sections or not path.is_file():
        return []
    return [
        Confusion(
            one.predictions.labels.tolist(),
            one.predictions.logits.argmax(axis=1).tolist(),
            list(one.classes),
            one.label,
        )
        for one in task.postprocessing.of_labels(load_predictions(path))
        if len(one.predictions.labels)
    ]


def _read_table(path: Path) -> tuple[list[str], list[list[str]]]:
    with open(path, encoding="utf-8", newline="") as file:
        columns, *rows = csv.reader(file)
    return columns, rows
