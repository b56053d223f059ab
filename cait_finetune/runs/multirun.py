"""Summarise the runs of a sweep: a row per run, or the mean of each setting over its draws.

Hydra calls `MultirunSummary` after all runs of ``-m``, such as ``-m seed=0,1,2`` or
``-m dataset.folds=5 'dataset.fold=range(5)'``. The runs may execute in other processes or on other
machines.
"""

from __future__ import annotations

import json
import math
import os
import shlex
import statistics
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.console import Console

from cait_finetune.errors import UserError
from cait_finetune.runs.command_line import run_again
from cait_finetune.runs.comparison import Comparison
from cait_finetune.runs.console_table import show_table
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.group import DRAWS, Group
from cait_finetune.runs.leaderboard import Entry, read_entry, runs_below
from cait_finetune.runs.unlike import unlike
from cait_finetune.runtime.console import plain_console
from cait_finetune.scores.intervals import half_width
from cait_tf.atomic import write_text


class MultirunSummary(Callback):
    """Print the table of a sweep's runs and write ``summary.json`` into the sweep's directory."""

    _before: tuple[Path, ...] = ()
    _failed_before: Mapping[Path, int] = {}

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Note the runs and failures that an earlier command left in the sweep's directory."""
        root = Path(config.hydra.sweep.dir)
        self._before = tuple(one for one in runs_below(root) if RunDirectory(one).result.is_file())
        self._failed_before = _failures(root)

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Summarise the sweep, then exit with an error if a run of the basic sweeper failed.

        Hydra calls this method once, after all runs.
        """
        console, root = plain_console(), Path(config.hydra.sweep.dir)
        try:
            summarise(root, console, self._before)
        except UserError as error:  # the runs are complete, so a missing table is no failure
            console.print(f"no summary of {root}: {error}")
        failed = []
        for path, written in _failures(root).items():
            if self._failed_before.get(path) != written:
                failed.append(path.read_text(encoding="utf-8", errors="replace").strip())
                if RunDirectory(path.parent).finished:  # an earlier command's run, unchanged
                    path.unlink()
        # Optuna counts failed trials itself. Hydra turns an exception here into a warning: use sys.exit.
        if failed and config.hydra.runtime.choices["hydra/sweeper"] == "basic":
            sys.exit("cait_finetune: " + "\n".join(["failed:", *failed]))


def _failures(root: Path) -> dict[Path, int]:
    """Return the modification time, in ns, of each run's error file below `root`, by its path."""
    found = sorted(root.rglob(RunDirectory(root).failure.name))
    return {path: path.stat().st_mtime_ns for path in found}


def summarise(root: Path, console: Console, before: Collection[Path] = ()) -> Path | None:
    """Print the table of the runs below `root` and write ``summary.json`` into `root`.

    Args:
        before: the runs below `root` that had a result when the sweep began.

    Returns:
        The path of ``summary.json``. `None`: no run has a result.

    Raises:
        UserError: the runs have different metrics.
    """
    entries = [read_entry(directory) for directory in runs_below(root)]
    if not any(entry.result for entry in entries):
        return None
    comparison = Comparison.of(entries, best_first=False)
    metrics = [f"{split}_{comparison.metric}" for split in ("validation", "test")]
    summary = {
        "runs": [
            {"directory": str(entry.directory)}
            | {key: entry.settings.get(key) for key in comparison.differ}
            | {name: entry.finished_result[name] for name in metrics}
            for entry in comparison.finished
        ],
        "groups": [
            {key: group.settings.get(key) for key in comparison.differ if key not in DRAWS}
            | {f"{split}_{comparison.metric}": _of(group, split)
               for split in ("validation", "test")}
            for group in comparison.groups
        ],
    }  # fmt: skip
    path = root / "summary.json"
    write_text(path, json.dumps(summary, indent=2) + "\n")

    def name(entry: Entry) -> str:
        return os.path.relpath(entry.directory, root)

    show_table(*comparison.table(name), console)
    for line in (*comparison.notes(), *unlike(list(comparison.finished))):
        console.print(line)
    if earlier := sum(entry.directory in before for entry in comparison.finished):
        console.print(
            f"runs    {earlier} of these {len(comparison.finished)} are of an earlier command"
        )
    for entry in comparison.unfinished:
        console.print(f"{name(entry)}  {entry.missing}")
    best = comparison.best
    console.print(f"best    {best.directory}")
    if best.command:
        # With a changed recipe, the command would start a different run.
        again = run_again(best.directory) if comparison.unset else best.command
        console.print(f"        {again}")
    console.print(f"summary {path}")
    console.print(f"more    python -m cait_finetune compare {shlex.quote(str(root))}")
    return path


def _of(group: Group, split: str) -> dict[str, float | None]:
    """Return the statistics of a metric over the draws of a group.

    The interval is `None` for one draw, as JSON has no NaN. Runs with an equal draw count once.
    """
    values = group.values(split)
    half = half_width(values)
    return {
        "mean": statistics.fmean(values) if values else None,
        "half_width_95": half if math.isfinite(half) else None,
        "low": min(values, default=None),
        "high": max(values, default=None),
        "deviation": statistics.stdev(values) if len(values) > 1 else 0.0,
        "runs": len(group.runs),
        "draws": len(values),
    }
