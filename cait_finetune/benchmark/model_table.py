"""The rows of the model's benchmark as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cait_finetune.benchmark.memory import Memory
from cait_finetune.benchmark.model_row import OURS, Row
from cait_finetune.benchmark.report import markdown
from cait_finetune.benchmark.rounds import Speeds

_EAGER, _COMPILED = "timm eager", "timm compiled"
_NAMES = (OURS, _EAGER, _COMPILED)


def text(
    rows: Sequence[Row], peaks: Mapping[str, float], notes: Sequence[str], footnote: str
) -> str:
    """Speed, memory and latency, a table each where there is something in it."""
    batches = [row for row in rows if row.task.work != "latency"]
    single = [row for row in rows if row.task.work == "latency"]
    parts = []
    if batches:
        size = batches[0].task.batch_size
        parts.append(
            f"Images a second, batch {size}: median and range of the rounds. Ratio: to timm's best.\n"
        )
        parts.append(_speeds(batches))
        parts.append(
            "Most memory held while working, GB; in brackets what that is beyond the libraries. Ratio: to "
            "the one of timm's that needs least, libraries included; below 1 is less.\n"
        )
        parts.append(_memory(batches))
    if single:
        parts.append(
            "One image, ms, float32; ours is an exported SavedModel. Ratio: below 1 is faster.\n"
        )
        parts.append(_latency(single))
    measured = ", ".join(
        f"{peak / 1e9:.0f} GFLOP/s in {precision.removeprefix('mixed_')}"
        for precision, peak in peaks.items()
    )
    parts.append(f"Peak: the fastest matrix product here, {measured}. {footnote}")
    parts += [f"{note}\n" for note in notes]
    return "\n".join(parts)


def _speeds(rows: Sequence[Row]) -> str:
    header = ["work", *_NAMES, "ratio", "of the peak"]
    return markdown(header, [
        [str(row.task), *(_or_dash(row.speeds.get(name)) for name in _NAMES),
         _times(row.ratio), f"{row.share:.0%}"]
        for row in rows
    ])  # fmt: skip


def _memory(rows: Sequence[Row]) -> str:
    header = ["work", *_NAMES, "ratio"]
    return markdown(header, [
        [str(row.task), *(_gigabytes(row.memory.get(name)) for name in _NAMES),
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
        ratio = _times(1 / row.ratio if row.ratio else None)
        cells.append([str(row.task), *(_or_dash(times.get(name)) for name in _NAMES[:2]), ratio])
    return markdown(["work", *_NAMES[:2], "ratio"], cells)


def _or_dash(speeds: Speeds | None) -> str:
    return str(speeds) if speeds else "—"


def _times(ratio: float | None) -> str:
    return f"{ratio:.2f}×" if ratio else "—"


def _gigabytes(memory: Memory | None) -> str:
    return f"{memory.calls / 1e9:.2f} ({memory.work / 1e9:.2f})" if memory else "—"
