"""Markdown tables and JSON values of a benchmark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any, NamedTuple

import numpy as np

from cait_finetune.benchmark.comparison import (
    OURS,
    OURS_SINGLE,
    TIMM_COMPILED,
    TIMM_EAGER,
    Comparison,
    Row,
    Speeds,
    series,
    three_digits,
)
from cait_finetune.runs.environment import processor
from cait_finetune.runs.markdown import markdown_table

_NAMES = (OURS, TIMM_EAGER, TIMM_COMPILED)
_SPEED = "Images a second: median and range of the rounds. Ratio: to timm's best.\n"
_MEMORY = {
    "cpu": "Peak memory while working, GB; in brackets without the libraries. Ratio: to timm's smaller "
    "peak, libraries included; below 1 is less.\n",
    "gpu": "Peak GPU memory while working, GB. Ratio: to timm's smaller peak; below 1 is less.\n",
}
_LARGEST = (
    "Our largest training batch in the given memory: extrapolated linearly from the peaks above, "
    "libraries included.\n"
)
_MACHINES = (8, 16, 24, 40, 80)  # GB
_LATENCY = (
    "One image, ms, float32. Ours is an exported SavedModel, with TensorFlow's default threads and "
    "with one thread for each operation. Ratio: below 1 is faster.\n"
)


class Report(NamedTuple):
    """The result of a benchmark: Markdown, and the contents of the JSON file."""

    text: str
    values: dict[str, Any]


def machine(timm: bool = True, ours: Sequence[str] = ("tensorflow", "keras")) -> dict[str, Any]:
    """Return the processor and the versions of the measured packages that are installed."""
    versions = {}
    for package in (*ours, *("torch", "timm") * timm):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return {"processor": processor(), "packages": versions}


def packages(facts: Mapping[str, Any]) -> str:
    """Return one line with the package versions in `facts`, a result of `machine`."""
    return ", ".join(f"{name} {version}" for name, version in facts["packages"].items())


def footnote(threads: int, timm: bool = True) -> str:
    """Return one line with the processor, the number of threads and the package versions."""
    facts = machine(timm)
    return f"{facts['processor']}, {threads} thread{'s' * (threads > 1)}; {packages(facts)}.\n"


def comparison_text(comparison: Comparison, footnote: str) -> str:
    """Return Markdown tables of speed, memory and latency. Tables without rows are omitted."""
    batches = [row for row in comparison.rows if row.task.work != "latency"]
    single = [row for row in comparison.rows if row.task.work == "latency"]
    parts = []
    if batches:
        header = ["work", "batch", *_NAMES, "ratio"]
        parts += [_SPEED, markdown_table([*header, "of the peak"], [
            [str(row.task), str(row.task.batch_size),
             *(_speed(row.speeds.get(name)) for name in _NAMES), _times(row.ratio()), f"{row.share:.0%}"]
            for row in batches
        ]), _MEMORY[batches[0].task.device], markdown_table(header, [
            [str(row.task), str(row.task.batch_size),
             *(_gigabytes(row, name) for name in _NAMES), _times(row.memory_ratio)]
            for row in batches
        ])]  # fmt: skip
    if largest := _largest_batches(batches):
        header = ["work", "MB an image", *(f"{size} GB" for size in _MACHINES)]
        parts += [_LARGEST, markdown_table(header, largest)]
    if single:
        header = ["work", OURS, "ratio", OURS_SINGLE, "ratio", TIMM_EAGER]
        parts += [_LATENCY, markdown_table(header, [
            [str(row.task), *_latency(row, OURS), *_latency(row, OURS_SINGLE),
             *_latency(row, TIMM_EAGER)[:1]]
            for row in single
        ])]  # fmt: skip
    peak = f"Peak: the fastest matrix product here, {_peaks(comparison.peaks)}"
    if comparison.timm_peaks:
        peak += f"; PyTorch's own fastest, {_peaks(comparison.timm_peaks)}"
    parts.append(f"{peak}. {footnote}")
    return "\n".join([*parts, *(f"{note}\n" for note in dict.fromkeys(comparison.notes))])


def _largest_batches(rows: Sequence[Row]) -> list[list[str]]:
    """Fit a line through the peaks of each series of training batches, and extrapolate it."""
    peaks: dict[object, dict[int, int]] = {}
    for row in rows:
        if row.task.work == "training":
            of_series = peaks.setdefault(series(row.task), {})
            of_series[row.task.batch_size] = row.memory[OURS].calls
    table = []
    for task, by_size in peaks.items():
        if len(by_size) < 2:
            continue
        slope, fixed = np.polyfit(list(by_size), list(by_size.values()), 1)
        if slope > 0:  # peaks that do not grow have no largest batch
            sizes = [math.floor((1e9 * size - fixed) / slope) for size in _MACHINES]
            table.append([str(task), three_digits(slope / 1e6),
                          *(str(size) if size > 0 else "none" for size in sizes)])  # fmt: skip
    return table


def _peaks(peaks: Mapping[str, float]) -> str:
    return ", ".join(
        f"{peak / 1e9:.0f} GFLOP/s in {precision.removeprefix('mixed_')}"
        for precision, peak in peaks.items()
    )


def _speed(speeds: Speeds | None) -> str:
    return str(speeds) if speeds else "—"


def _times(ratio: float | None) -> str:
    return f"{ratio:.2f}×" if ratio else "—"


def _gigabytes(row: Row, name: str) -> str:
    memory = row.memory.get(name)
    if memory is None:
        return "—"
    beyond = f" ({memory.work / 1e9:.2f})" if memory.libraries else ""
    return f"{memory.calls / 1e9:.2f}{beyond}"


def _latency(row: Row, name: str) -> list[str]:
    """Return two cells: milliseconds, and their ratio to timm's."""
    speeds, ratio = row.speeds.get(name), row.ratio(name)
    milliseconds = Speeds(tuple(1e3 / one for one in speeds.rounds)) if speeds else None
    return [_speed(milliseconds), _times(1 / ratio if ratio else None)]
