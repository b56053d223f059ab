"""What several runs say together: a row for each, their mean and range.

Hydra calls `MultirunSummary` when ``-m`` has made all its runs, in whatever process or on whatever
machine each was made: ``-m seed=0,1,2``, or ``-m dataset.folds=5 'dataset.fold=range(5)'``.
"""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from cait_finetune.run_directory import RunDirectory


class MultirunSummary(Callback):
    """Prints the table of a sweep's runs, and writes it into the sweep's directory."""

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Called by Hydra, once."""
        summarise(Path(config.hydra.sweep.dir), Console(soft_wrap=True, highlight=False))


def summarise(root: Path, console: Console) -> Path | None:
    """Summarise the runs in the folders of `root`.

    Returns:
        ``summary.json``; None where no run has a result.
    """
    results = {path.parent: json.loads(path.read_text()) for path in root.glob("*/result.json")}
    runs = sorted(results, key=lambda path: (len(path.name), path.name))
    if not runs:
        return None
    settings = {run: _flat(OmegaConf.load(RunDirectory(run).config)) for run in runs}
    differing = [
        key
        for key in settings[runs[0]]
        if len({json.dumps(values.get(key)) for values in settings.values()}) > 1
    ]
    metric = results[runs[0]]["metric"]
    figures = [f"validation_{metric}", f"test_{metric}"]
    summary = {
        "runs": [
            {"directory": str(run)}
            | {key: settings[run][key] for key in differing}
            | {name: results[run][name] for name in figures}
            for run in runs
        ],
        "figures": {name: _of([results[run][name] for run in runs]) for name in figures},
    }
    path = root / "summary.json"
    path.write_text(json.dumps(summary, indent=2) + "\n")
    console.print(_table(summary, differing, figures))
    console.print(f"summary  {path}")
    return path


def _of(values: list[float]) -> dict[str, float]:
    return {
        "mean": statistics.fmean(values),
        "low": min(values),
        "high": max(values),
        "deviation": statistics.stdev(values) if len(values) > 1 else 0.0,
        "runs": len(values),
    }


def _table(summary: dict[str, Any], differing: list[str], figures: list[str]) -> Table:
    table = Table("run", *differing, *figures)
    for row in summary["runs"]:
        words = [f"{row[name]:.2%}" for name in figures]
        table.add_row(Path(row["directory"]).name, *(str(row[key]) for key in differing), *words)
    of_all = summary["figures"].values()
    blank = [""] * len(differing)
    table.add_section()
    table.add_row("mean", *blank, *(f"{one['mean']:.2%}" for one in of_all))
    table.add_row("range", *blank, *(f"{one['low']:.2%} – {one['high']:.2%}" for one in of_all))
    return table


def _flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """``{"dataset.fold": 0, …}`` of a configuration."""
    flat: dict[str, Any] = {}
    for key, value in OmegaConf.to_container(node).items() if not prefix else node.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
