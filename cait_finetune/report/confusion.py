"""Which class is taken for which: the whole matrix, or where it is large the pairs that matter."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cait_finetune.report.style import BLUE, drawing, short

#: So many classes can be read as rows and columns.
READABLE = 25
_PAIRS = 20  # bars beside a larger matrix
_CELLS = 250  # of the picture of a matrix at most; larger ones are gathered into blocks


@dataclasses.dataclass(frozen=True)
class Confusion:
    """``counts[i, j]`` images of class i were predicted as j, ``(C, C)``."""

    counts: np.ndarray
    names: Sequence[str]

    def most_confused(self, limit: int | None = None) -> list[tuple[int, int, int, float]]:
        """Off the diagonal, most images first: truth, prediction, images, share of the truth's."""
        wrong = self.counts * ~np.eye(len(self.counts), dtype=bool)
        truths, predictions = np.nonzero(wrong)
        order = np.lexsort((predictions, truths, -wrong[truths, predictions]))[:limit]
        totals = self.counts.sum(axis=1)
        return [
            (int(i), int(j), int(wrong[i, j]), float(wrong[i, j] / totals[i]))
            for i, j in zip(truths[order], predictions[order], strict=True)
        ]


def confusion(logits: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> Confusion:
    """Of logits ``(N, C)`` and classes ``(N,)``, by scikit-learn."""
    from sklearn.metrics import confusion_matrix

    counts = confusion_matrix(labels, logits.argmax(axis=-1), labels=np.arange(len(names)))
    return Confusion(counts, names)


def write_confusion(matrix: Confusion, path: Path) -> None:
    """A CSV row for each pair that has images; right ones first, then the most confused."""
    right = [(i, i, int(n)) for i, n in enumerate(np.diag(matrix.counts)) if n]
    wrong = [pair[:3] for pair in matrix.most_confused()]
    totals = matrix.counts.sum(axis=1)
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("truth", "prediction", "images", "share_of_truth"))
        for i, j, images in [*right, *wrong]:
            share = images / totals[i]
            writer.writerow((matrix.names[i], matrix.names[j], images, f"{share:.6g}"))


def draw_confusion(matrix: Confusion, title: str, path: Path) -> None:
    """A PNG: up to `READABLE` classes with every number, beyond that the most confused pairs beside
    an overview."""
    from matplotlib.figure import Figure

    classes = len(matrix.counts)
    with drawing():
        if classes <= READABLE:
            side = 2.3 + max(2.2, 0.4 * classes)
            figure = Figure(figsize=(side + 0.8, side), layout="constrained")
            _draw_cells(figure, matrix)
        else:
            figure = Figure(figsize=(12.5, 5.6), layout="constrained")
            overview, bars = figure.subplots(1, 2, width_ratios=(1, 1))
            _draw_overview(overview, matrix)
            _draw_pairs(bars, matrix)
        figure.suptitle(title)
        figure.savefig(path, dpi=110)


def _shares(counts: np.ndarray) -> np.ndarray:
    return counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)


def _draw_cells(figure: object, matrix: Confusion) -> None:
    shares, classes = _shares(matrix.counts), len(matrix.counts)
    ax = figure.subplots()
    image = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for i, j in zip(*np.nonzero(matrix.counts), strict=True):
        colour = "white" if shares[i, j] > 0.55 else "#1d2733"
        size = 8 if classes <= 15 else 6.5
        ax.text(j, i, f"{matrix.counts[i, j]:,}", ha="center", va="center", color=colour,
                fontsize=size)  # fmt: skip
    names = [short(name, 22) for name in matrix.names]
    wide = max(map(len, names)) > 3
    ax.set_xticks(
        range(classes), names, rotation=45 if wide else 0, ha="right" if wide else "center"
    )
    ax.set_yticks(range(classes), names)
    ax.set(xlabel="predicted class", ylabel="true class")
    ax.spines[:].set_visible(False)
    ax.tick_params(length=0)
    bar = figure.colorbar(image, ax=ax, shrink=0.7, format=lambda value, _: f"{value:.0%}")
    bar.outline.set_visible(False)
    bar.set_label("share of the class's images")


def _draw_overview(ax: object, matrix: Confusion) -> None:
    """The whole matrix, its rare cells as visible as its common ones."""
    shares, classes = _shares(matrix.counts), len(matrix.counts)
    block = -(-classes // _CELLS)
    padded = np.pad(shares, (0, -classes % block))
    blocks = padded.reshape(len(padded) // block, block, -1, block).max(axis=(1, 3))
    ax.imshow(blocks**0.4, cmap="Blues", vmin=0, vmax=1, interpolation="nearest",
              extent=(0, classes, classes, 0))  # fmt: skip
    ax.set(
        xlabel="predicted class, by number",
        ylabel="true class, by number",
        title=f"all {classes:,} classes",
    )


def _draw_pairs(ax: object, matrix: Confusion) -> None:
    pairs = matrix.most_confused(_PAIRS)
    ax.set_title("most confused: true → predicted")
    if not pairs:
        ax.text(0.5, 0.5, "none", ha="center", transform=ax.transAxes)
        ax.set_axis_off()
        return
    labels = [f"{short(matrix.names[i], 26)} → {short(matrix.names[j], 26)}" for i, j, *_ in pairs]
    bars = ax.barh(range(len(pairs)), [images for *_, images, _ in pairs], color=BLUE, height=0.7)
    ax.bar_label(bars, [f"{images} ({share:.0%})" for *_, images, share in pairs], padding=3,
                 fontsize=8)  # fmt: skip
    ax.set_yticks(range(len(pairs)), labels, fontsize=8)
    ax.set_ylim(_PAIRS - 0.4, -0.6)
    ax.margins(x=0.2)
    ax.set_xlabel("images (share of the class's)")
    ax.xaxis.get_major_locator().set_params(integer=True)
