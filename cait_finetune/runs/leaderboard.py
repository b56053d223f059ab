"""Find and read runs: their settings, their results, and the keys that differ."""

from __future__ import annotations

import glob
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from omegaconf.errors import OmegaConfBaseException

from cait_finetune.config.checks import utf8_path
from cait_finetune.config.mappings import to_dict
from cait_finetune.config.places import expanded
from cait_finetune.errors import UserError, bad_value
from cait_finetune.runs.command_line import named_keys, override
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.exports import current_result
from cait_finetune.runs.records import read_records
from cait_finetune.runs.run_id import check_weights_id, read_identity, run_id
from cait_finetune.runs.settings import check_settings, flat

#: Keys that do not affect how a run trains.
_ASIDE = ("resume", "traceback")
#: Keys that let the seed draw the training images.
_DRAWN = ("dataset.examples_per_class", "dataset.train_share", "dataset.folds")
#: The key of a group that determines the group's other keys.
_CHOICES = ("name", "method", "strategy", "mode")


@dataclass(frozen=True)
class Entry:
    """One run.

    Attributes:
        directory: directory of the run.
        settings: leaves of the run's configuration, ``{"optimizer.base_lr": 0.001, …}``.
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

    Raises:
        UserError: a path does not exist or matches nothing, or no path holds a run.
    """
    found: dict[Path, None] = {}
    for path in paths:
        roots = [Path(root) for root in sorted(glob.glob(expanded("runs", path), recursive=True))]
        if not roots:
            raise bad_value("runs", path, "a directory that exists, or a pattern of some")
        for root in roots:
            utf8_path("runs", root)
            found |= dict.fromkeys(runs_below(root))
    if not found:
        raise bad_value(
            "runs",
            f"{' '.join(paths)}, where there is no run",
            "directories of runs, or of sweeps: outputs/…, multirun/…",
        )
    return list(found)


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
    command = run.read_command()
    if not missing:
        return Entry(directory, settings, command, result, start=_start(run), id=run_id(run))
    return Entry(
        directory, settings, command, None, ", ".join([_progress(run, settings), *missing])
    )


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
    metric = settings.get("dataset.metric") or "top1"
    if scores := [one[key] for one in epochs if (key := f"validation_{metric}") in one]:
        text += f", validation_{metric} {max(scores):.2%} so far"
    return text


def differing(entries: list[Entry]) -> list[str]:
    """Return the keys whose values differ between the runs that have the key."""
    keys = dict.fromkeys(key for entry in entries for key in entry.settings)
    return [
        key
        for key in keys
        if key not in _ASIDE
        and len({json.dumps(one.settings[key]) for one in entries if key in one.settings}) > 1
    ]


def chosen(entries: list[Entry], keys: list[str]) -> list[str]:
    """Return the keys among `keys` that the runs' commands set. The other keys follow from these.

    Return all `keys` if the commands set none of them, a command is unknown, or the recipes differ.

    Args:
        keys: the differing keys.
    """
    named = [named_keys(entry.command) for entry in entries if entry.command]
    recipes = {(one.get("-cn"), one.get("-cd")) for one in named}
    if len(named) < len(entries) or len(recipes) > 1:
        return keys
    names = {key for one in named for key in one}

    def is_chosen(key: str) -> bool:
        group, _, leaf = key.partition(".")
        of_group = [other for other in keys if other in {f"{group}.{one}" for one in _CHOICES}]
        return key in names or (group in names and (leaf in _CHOICES or not of_group))

    return [key for key in keys if is_chosen(key)] or keys


def judged_by(entries: list[Entry]) -> str:
    """Return the metric that judges all finished runs, or ``top1`` if no run is finished.

    Raises:
        UserError: the finished runs have different metrics.
    """
    metrics = sorted({entry.result["metric"] for entry in entries if entry.result})
    if len(metrics) > 1:
        raise bad_value(
            "runs", f"runs judged by {' and by '.join(metrics)}", "runs with the same metric",
            "compare them apart",
        )  # fmt: skip
    return metrics[0] if metrics else "top1"


def unlike(entries: list[Entry]) -> list[str]:
    """Return a line for each difference between finished runs that their settings do not show.

    The function compares the images on which the runs were scored and trained, and their initial
    weights. It does not compare runs of versions that did not record these facts.
    """
    splits = [(entry.result or {}).get("data", {}).get("splits", {}) for entry in entries]

    def differ(split: str) -> bool:
        return any(
            len({one[split].get(key) for one in splits if split in one} - {None, ""}) > 1
            for key in ("sha256", "content_sha256")
        )

    lines = []
    scored = [one for one in splits if one]
    counts: set[int] = {
        entry.result["test_examples"]
        for entry in entries
        if entry.result and entry.result.get("test_examples") is not None
    }
    if other := [split for split in ("validation", "test") if differ(split)]:
        lines.append(f"images  the runs were scored on different {' and '.join(other)} images")
    elif len(counts) > 1:
        numbers = " and ".join(f"{count:,}" for count in sorted(counts))
        lines.append(f"images  the runs were scored on {numbers} of the test images")
    elif len(scored) > 1 and not all(one["test"].get("content_sha256") for one in scored):
        lines.append(
            "images  names and labels are the same; contents were not compared: a run had "
            "dataset.check=false"
        )
    keys = differing(entries)
    folded = [one.settings for one in entries if one.settings.get("dataset.folds")]
    seeds = sorted({str(one.get("dataset.seed")) for one in folded})
    if len(seeds) > 1 and len({one.get("dataset.fold") for one in folded}) > 1:
        lines.append(
            f"images  the folds were drawn by different seeds ({', '.join(seeds)}), so they overlap: "
            "set dataset.seed"
        )
    drawn = any(entry.settings.get(key) is not None for key in _DRAWN for entry in entries)
    explained = any(key.startswith("dataset.") or (key == "seed" and drawn) for key in keys)
    if differ("train") and not explained:
        lines.append("images  the runs were trained on different images under the same settings")
    started: dict[Any, set[str]] = {}
    for entry in entries:
        of = entry.settings.get("model.name"), entry.settings.get("model.weights")
        started.setdefault(of, set()).add(entry.start)
    lines += [
        f"weights  the runs started from different weights under {override('model.weights', value)}"
        for (_, value), starts in started.items()
        if len(starts - {""}) > 1
    ]
    return lines
