"""Series over batch sizes as Markdown: speed and memory, and which batch fits."""

from __future__ import annotations

from collections.abc import Sequence

from cait_finetune.benchmark.report import markdown
from cait_finetune.benchmark.rounds import figure
from cait_finetune.benchmark.scale_row import Series

#: Gigabytes of the machines that are asked about.
SIZES = (8, 16, 24, 40, 80)


def text(measured: Sequence[Series], footnote: str) -> str:
    """What each batch did, the largest that fits in training, and what was left out."""
    parts = ["Images a second, and the most memory held while working.\n", _batches(measured)]
    training = [one for one in measured if one.task.work == "training" and one.line]
    if training:
        parts += [
            "The largest batch that training fits into so much memory, by a straight line through the\n"
            "peaks above (a CPU's memory, libraries included):\n",
            _largest(training),
        ]
    for series in measured:
        parts += [f"left out: {series.task}, batch {size}: {why}\n"
                  for size, why in series.skipped.items()]  # fmt: skip
    return "\n".join([*parts, footnote])


def _batches(measured: Sequence[Series]) -> str:
    rows = [
        [str(series.task), str(size), str(series.speeds[size]), f"{peak / 1e9:.2f}"]
        for series in measured
        for size, peak in series.peaks.items()
    ]
    return markdown(["work", "batch", "img/s", "GB"], rows)


def _largest(training: Sequence[Series]) -> str:
    rows = []
    for series in training:
        largest = [series.line.largest(size * 1e9) for size in SIZES]
        fits = [str(one) if one else "none" for one in largest]
        rows.append([str(series.task), figure(series.line.per_image / 1e6), *fits])
    return markdown(["work", "MB an image", *(f"{size} GB" for size in SIZES)], rows)
