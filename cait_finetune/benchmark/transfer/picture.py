"""The comparison as a picture: the test figure over the training images, a line for each method."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cait_finetune.benchmark.transfer.results import Comparison
from cait_finetune.report.style import drawing

_SCRATCH = "from scratch"  # in grey: what the others are to be better than


def draw(comparisons: Sequence[Comparison], path: Path) -> None:
    """Write a PNG: a panel for each data set; the mean, and the range of the seeds as bars."""
    from matplotlib.figure import Figure

    with drawing():
        figure = Figure(figsize=(5.2 * len(comparisons) + 1.8, 4.4), layout="constrained")
        panels = figure.subplots(1, len(comparisons), squeeze=False)[0]
        for comparison, axes in zip(comparisons, panels, strict=True):
            _panel(comparison, axes)
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside right center")
        figure.savefig(path, dpi=110)


def _panel(comparison: Comparison, axes: object) -> None:
    colours = iter(f"C{number}" for number in range(10))
    count = len(comparison.test)
    for number, (method, test) in enumerate(comparison.test.items()):
        mean = test.mean(axis=1)
        scratch = method.startswith(_SCRATCH)
        beside = 1.04 ** (number - (count - 1) / 2)  # so that bars do not hide each other
        axes.errorbar(
            [images * beside for images in comparison.images],
            mean,
            yerr=[mean - test.min(axis=1), test.max(axis=1) - mean],
            label=method,
            color="grey" if scratch else next(colours),
            linestyle="--" if method == _SCRATCH else ":" if scratch else "-",
            marker="o",
            markersize=3,
            elinewidth=0.8,
            capsize=2,
        )
    ticks = [
        f"{images:,}\n{share * 100:.3g} %"
        for share, images in zip(comparison.shares, comparison.images, strict=True)
    ]
    axes.set(title=comparison.dataset, xscale="log", xlabel="training images", ylabel="test, %")
    axes.set_xticks(comparison.images, ticks)
    axes.set_xticks([], minor=True)
    axes.grid(alpha=0.3)
