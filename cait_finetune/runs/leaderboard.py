"""Find and read runs: their settings, their results, and the keys that differ."""

from __future__ import annotations

import contextlib
import glob
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from omegaconf.errors import OmegaConfBaseException

from cait_finetune.config import TaskConfig
from cait_finetune.config.checks import utf8_path
from cait_finetune.config.mappings import to_dict
from cait_finetune.config.places import expanded
from cait_finetune.errors import UserError, bad_value, suggest
from cait_finetune.runs.automatic import as_said
from cait_finetune.runs.command_line import split_command
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.exports import current_result
from cait_finetune.runs.records import read_records
from cait_finetune.runs.run_id import check_weights_id, read_identity, run_id
from cait_finetune.runs.settings import check_settings, flat
from cait_finetune.runs.values import mark
from cait_finetune.tasks import task_of

#: Keys that do not affect how a run trains.
_ASIDE = ("resume", "traceback")


@dataclass(frozen=True)
class Entry:
    """One run.

    Attributes:
        directory: directory of the run.
        settings: leaves of the run's configuration, as it was said (`as_said`), ``{"optimizer.base_lr": 0.001, …}``.
        command: the command that started the run. `None`: unknown.
        result: content of ``result.json``. `None`: ``config.yaml`` or ``result.json`` is missing or
            unusable.
        missing: the progress of a run without ``result``, and the missing parts.
        start: checksum of the weights that the run started from. Empty: unknown.
        id: the run's id, which a copy of its directory keeps. Empty: unknown.
    """

    directory: Path
    settings: dict[str, Any]
    command: str | None
    result: dict[str, Any] | None
    missing: str = ""
    start: str = ""
    id: str = ""

    @property
    def finished_result(self) -> dict[str, Any]:
        """The `result` of a finished run."""
        return cast("dict[str, Any]", self.result)

    @property
    def score(self) -> float:
        """The validation metric. −∞: the run has no result, or the metric is not finite."""
        score = (self.result or {}).get(f"validation_{(self.result or {}).get('metric')}")
        return score if score is not None and math.isfinite(score) else -math.inf


def find_runs(paths: list[str]) -> list[Path]:
    """Return the directories of all runs at or below `paths`, which may be glob patterns.

    A directory that several paths lead to, such as a symbolic link, is returned once.

    Raises:
        UserError: a path does not exist or matches nothing, or no path holds a run.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        roots = [Path(root) for root in sorted(glob.glob(expanded("runs", path), recursive=True))]
        if not roots:
            beside = Path(expanded("runs", path)).absolute().parent
            names = [one.name for one in beside.glob("*/")] if beside.is_dir() else []
            hint = suggest(Path(path).name, names)
            raise bad_value("runs", path, "a directory that exists, or a matching pattern", hint)
        for root in roots:
            utf8_path("runs", root)
            for run in runs_below(root):
                found.setdefault(run.resolve(), run)
    if not found:
        raise bad_value(
            "runs",
            f"{' '.join(paths)}, where there is no run",
            "directories of runs, or of sweeps: outputs/…, multirun/…",
        )
    return list(found.values())


def runs_below(root: Path) -> list[Path]:
    """Return the directories of all runs at or below `root`. Run 10 of a sweep follows run 9."""
    found = []
    for directory, folders, files in os.walk(root):
        if "checkpoints" in folders or {"config.yaml", "result.json"} <= set(files):
            found.append(Path(directory))
            folders.clear()
    return sorted(found, key=lambda run: (run.parent, len(run.name), run.name))


def read_entry(directory: Path) -> Entry:
    """Read a run. The entry names the parts that are missing or cannot be read."""
    run = RunDirectory(directory)
    settings, missing = {}, []
    try:
        settings = flat(to_dict(run.read_config()))
    except FileNotFoundError:
        missing.append("no config.yaml")
    except (UserError, OmegaConfBaseException):
        missing.append("a config.yaml that cannot be read")
    with contextlib.suppress(UserError):  # `_foreign` names the file
        settings |= as_said(run)
    result = None
    try:
        result = run.read_result()
        metric = result.get("metric")
        if not run.result.is_file():
            missing.append("no result.json")
        elif not {f"validation_{metric}", f"test_{metric}"} <= result.keys():
            missing.append("a result.json without scores")
        elif not current_result(run):
            missing.append("a result.json of other weights than the best")
    except UserError:
        missing.append("a result.json that cannot be read")
    if not missing:
        missing += _foreign(run)
    command = _command(run)
    if not missing:
        return Entry(directory, settings, command, result, start=_start(run), id=run_id(run))
    return Entry(
        directory, settings, command, None, ", ".join([_progress(run, settings), *missing])
    )


def _command(run: RunDirectory) -> str | None:
    """Return the command that started the run. `None`: unknown, or not in shell syntax."""
    command = run.read_command()
    try:
        split_command(command or "")
    except ValueError:
        return None
    return command


def _foreign(run: RunDirectory) -> list[str]:
    """Return a description of files in the directory that do not belong to its run. Empty: all belong."""
    checks: dict[str, Callable[[], None]] = {
        "a config.yaml that was edited since the run began": lambda: check_settings(run, "runs"),
        "best weights of another run": lambda: check_weights_id(run, "runs", run.best_checkpoint),
        "a metrics.jsonl that is damaged or of another run": lambda: _check_records(run),
    }
    found = []
    for fault, check in checks.items():
        try:
            check()
        except UserError:
            found.append(fault)
    return found


def _check_records(run: RunDirectory) -> None:
    read_records(run, "epoch", "runs")


def _start(run: RunDirectory) -> str:
    try:
        return read_identity(run).get("weights", {}).get("sha256") or ""
    except (UserError, AttributeError):  # AttributeError: a file that was edited
        return ""


def _progress(run: RunDirectory, settings: dict[str, Any]) -> str:
    """Describe the progress of a run without a result."""
    try:
        epochs = read_records(run, "epoch", "runs")
    except UserError:
        return "a metrics.jsonl that is damaged or of another run"
    if not epochs:
        return "no epoch finished"
    of = f" of {settings['train.epochs']}" if settings.get("train.epochs") else ""
    text = f"{epochs[-1]['epoch']}{of} epochs"
    task = task_of(TaskConfig(settings.get("task.name", TaskConfig.name)))
    metric = settings.get("dataset.metric") or task.metrics[0]
    if scores := [one[key] for one in epochs if (key := f"validation_{metric}") in one]:
        text += f", validation_{metric} {max(scores):.2%} so far"
    return text


def differing(entries: Sequence[Entry]) -> list[str]:
    """Return the keys whose values differ between the runs that have the key."""
    keys = dict.fromkeys(key for entry in entries for key in entry.settings)
    return [
        key
        for key in keys
        if key not in _ASIDE
        and len({mark(one.settings[key]) for one in entries if key in one.settings}) > 1
    ]


def judged_by(entries: list[Entry]) -> str:
    """Return the metric that judges all finished runs, or ``top1`` if no run is finished.

    Raises:
        UserError: the finished runs have different metrics.
    """
    metrics = sorted({entry.result["metric"] for entry in entries if entry.result})
    if len(metrics) > 1:
        raise bad_value(
            "runs", f"runs judged by {' and by '.join(metrics)}", "runs with the same metric",
            "compare them separately",
        )  # fmt: skip
    return metrics[0] if metrics else "top1"
