"""The rows of the model's benchmark as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cait_finetune.benchmark.contest import Measured
from cait_finetune.benchmark.memory import Memory
from cait_finetune.benchmark.model_row import OURS, OURS_SINGLE, TIMM_COMPILED, TIMM_EAGER, Row
from cait_finetune.benchmark.report import markdown
from cait_finetune.benchmark.rounds import Speeds

_NAMES = (OURS, TIMM_EAGER, TIMM_COMPILED)
_MEMORY = {
    "cpu": "Most memory held while working, GB; in brackets what that is beyond the libraries. Ratio: to "
    "the one of timm's that needs least, libraries included; below 1 is less.\n",
    "gpu": "Most memory of the card taken while working, GB. Ratio: to the one of timm's that needs "
    "least; below 1 is less.\n",
}


def text(measured: Measured, footnote: str) -> str:
    """Speed, memory and latency, a table each where there is something in it."""
    batches = [row for row in measured.rows if row.task.work != "latency"]
    single = [row for row in measured.rows if row.task.work == "latency"]
    parts = []
    if batches:
        parts.append("Images a second: median and range of the rounds. Ratio: to timm's best.\n")
        parts.append(_speeds(batches))
        parts.append(_MEMORY[batches[0].task.device])
        parts.append(_memory(batches))
    if single:
        parts.append(
            "One image, ms, float32; ours is an exported SavedModel, as it is loaded and where "
            "each operation is given one thread. Ratio: below 1 is faster.\n"
        )
        parts.append(_latency(single))
    peak = f"Peak: the fastest matrix product here, {_peaks(measured.peaks)}"
    if measured.timm_peaks:
        peak += f"; PyTorch's own fastest, {_peaks(measured.timm_peaks)}"
    parts.append(f"{peak}. {footnote}")
    parts += [f"{note}\n" for note in measured.notes]
    return "\n".join(parts)


def figures(measured: Measured, machine: Mapping[str, Any]) -> dict[str, Any]:
    """The same for JSON."""
    return {
        "machine": machine,
        "peak_flops": measured.peaks,
        "timm_peak_flops": measured.timm_peaks,
        "notes": measured.notes,
        "rows": [row.as_figures() for row in measured.rows],
    }


def _peaks(peaks: Mapping[str, float]) -> str:
    return ", ".join(
        f"{peak / 1e9:.0f} GFLOP/s in {precision.removeprefix('mixed_')}"
        for precision, peak in peaks.items()
    )


def _speeds(rows: Sequence[Row]) -> str:
    header = ["work", "batch", *_NAMES, "ratio", "of the peak"]
    return markdown(header, [
        [str(row.task), str(row.task.batch_size), *(_or_dash(row.speeds.get(name)) for name in _NAMES),
         _times(row.ratio), f"{row.share:.0%}"]
        for row in rows
    ])  # fmt: skip


def _memory(rows: Sequence[Row]) -> str:
    header = ["work", "batch", *_NAMES, "ratio"]
    return markdown(header, [
        [str(row.task), str(row.task.batch_size), *(_gigabytes(row.memory.get(name)) for name in _NAMES),
         _times(row.memory_ratio)]
        for row in rows
    ])  # fmt: skip


def _latency(rows: Sequence[Row]) -> str:
    cells = []
    for row in rows:
        times = {
            name: Speeds(tuple(1e3 / speed for speed in speeds.rounds))
            for name, speeds in row.speeds.items()
        }
        line = [str(row.task)]
        for name in (OURS, OURS_SINGLE):
            ratio = row.ratio_of(name)
            line += [_or_dash(times.get(name)), _times(1 / ratio if ratio else None)]
        cells.append([*line, _or_dash(times.get(TIMM_EAGER))])
    return markdown(["work", OURS, "ratio", OURS_SINGLE, "ratio", TIMM_EAGER], cells)


def _or_dash(speeds: Speeds | None) -> str:
    return str(speeds) if speeds else "—"


def _times(ratio: float | None) -> str:
    return f"{ratio:.2f}×" if ratio else "—"


def _gigabytes(memory: Memory | None) -> str:
    if memory is None:
        return "—"
    beyond = f" ({memory.work / 1e9:.2f})" if memory.libraries else ""
    return f"{memory.calls / 1e9:.2f}{beyond}"
