"""The reliability diagram: accuracy by the model's confidence."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from cait_finetune.report.style import BLUE, GREY, ORANGE, drawing
from cait_tf.atomic import atomic_open, atomic_path


class Bins(Protocol):
    """Equal-width bins of confidence.

    Attributes:
        count: number of answers in each bin, ``(M,)``.
        confidence: mean confidence in each bin, ``(M,)``.
        accuracy: share of correct answers in each bin, ``(M,)``.
        error: expected calibration error (ECE).
    """

    count: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    error: float


def write_reliability(bins: Mapping[tuple[str, str], Bins], path: Path) -> None:
    """Write one CSV row per bin. A key is a pair: a split, and ``as trained`` or ``calibrated``."""
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
    """Write a PNG with one diagram per panel.

    Args:
        panels: title and bins of each panel.
        confidence: label of the x axis.
        accuracy: label of the y axis.
    """
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
           label="gap to the confidence")  # fmt: skip
    ax.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="calibrated")
    ax.set(title=f"{title}: ECE {bins.error:.2%}", xlim=(0, 1), ylim=(0, 1))
    ax.grid(alpha=0.25)
    ax.set_axisbelow(True)
