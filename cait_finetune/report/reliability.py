"""The reliability diagram: how often the model is right when it says how sure it is."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cait_finetune.report.style import BLUE, GREY, ORANGE, drawing
from cait_tf.atomic import atomic_open, atomic_path


class Bins(Protocol):
    """Images, mean confidence and share of right answers of equal-width bins, ``(M,)`` each."""

    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    error: float


def write_reliability(bins: Mapping[tuple[str, str], Bins], path: Path) -> None:
    """One CSV row a bin; the key of each lot is its split and whether it is calibrated."""
    with atomic_open(path, newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("split", "state", "from", "to", "count", "confidence", "accuracy"))
        for key, one in bins.items():
            size = len(one.count)
            for m in range(size):
                means = [one.confidence[m], one.accuracy[m]] if one.count[m] else ["", ""]
                writer.writerow((*key, m / size, (m + 1) / size, one.count[m], *means))


def draw_reliability(
    panels: Sequence[tuple[str, Bins]], confidence: str, accuracy: str, path: Path
) -> None:
    """A PNG with a diagram for each of the titled `panels`; the other two name the axes."""
    from matplotlib.figure import Figure

    with drawing():
        figure = Figure(figsize=(5.0 * len(panels), 4.6), layout="constrained")
        axes = figure.subplots(
            2, len(panels), height_ratios=(4, 1), sharex=True, sharey="row", squeeze=False
        )
        for (title, bins), (top, below) in zip(panels, axes.T, strict=True):
            _draw_bars(top, title, bins)
            size = len(bins.count)
            share = bins.count / max(bins.count.sum(), 1)
            below.bar((np.arange(size) + 0.5) / size, share, 0.92 / size, color=GREY)
            below.set_xlabel(confidence)
            below.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes[0, 0].set_ylabel(accuracy)
        axes[1, 0].set_ylabel("share of answers")
        handles, labels = axes[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
        with atomic_path(path) as partial:
            figure.savefig(partial, dpi=110)


def _draw_bars(ax: Any, title: str, bins: Bins) -> None:
    size = len(bins.count)
    full = bins.count > 0
    middle = (np.arange(size) + 0.5)[full] / size
    accuracy, confidence = bins.accuracy[full], bins.confidence[full]
    ax.bar(middle, accuracy, 0.92 / size, color=BLUE, label="observed")
    ax.bar(middle, abs(confidence - accuracy), 0.92 / size, np.minimum(confidence, accuracy),
           facecolor="none", edgecolor=ORANGE, hatch="////", linewidth=1,
           label="gap to what was said")  # fmt: skip
    ax.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="calibrated")
    ax.set(title=f"{title}: ECE {bins.error:.2%}", xlim=(0, 1), ylim=(0, 1))
    ax.grid(alpha=0.25)
    ax.set_axisbelow(True)
