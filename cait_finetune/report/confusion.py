"""The confusion matrix as CSV and PNG. Large matrices show the most confused pairs."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from cait_finetune.report.style import BLUE, drawing, short
from cait_tf.atomic import atomic_open, atomic_path

#: Largest number of classes for which the figure shows every cell.
READABLE = 25
_PAIRS = 20  # most confused pairs beside a larger matrix
_CELLS = 250  # cells per side of the figure at most; larger matrices are reduced by blocks


@dataclasses.dataclass(frozen=True)
class Confusion:
    """A sparse confusion matrix: the P nonzero cells.

    ``images[p]`` images of class ``truths[p]`` were predicted as class ``predictions[p]``. All
    three are ``(P,)`` int arrays, sorted by truth and then by prediction. ``names`` holds the C
    class names.
    """

    truths: np.ndarray
    predictions: np.ndarray
    images: np.ndarray
    names: Sequence[str]

    @cached_property
    def totals(self) -> np.ndarray:
        """Number of images of each true class, ``(C,)`` int."""
        totals = np.zeros(len(self.names), int)
        np.add.at(totals, self.truths, self.images)
        return totals

    @cached_property
    def shares(self) -> np.ndarray:
        """Images of each cell divided by the images of its true class, ``(P,)``."""
        return self.images / self.totals[self.truths]

    def most_confused(self, limit: int | None = None) -> list[tuple[int, int, int, float]]:
        """Return wrong pairs, most images first: truth, prediction, images, share of the class."""
        order = np.lexsort((self.predictions, self.truths, -self.images))
        order = order[self.truths[order] != self.predictions[order]][:limit]
        return [
            (int(self.truths[p]), int(self.predictions[p]), int(self.images[p]),
             float(self.shares[p]))
            for p in order
        ]  # fmt: skip


def confusion(logits: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> Confusion:
    """Return the confusion matrix of logits ``(N, C)`` and true classes ``(N,)``."""
    pairs = np.stack([np.asarray(labels, int), logits.argmax(axis=-1)])  # (2, N)
    (truths, predictions), images = np.unique(pairs, axis=1, return_counts=True)
    return Confusion(truths, predictions, images, names)


def write_confusion(matrices: Sequence[Confusion], path: Path) -> None:
    """Write a CSV row for each nonzero cell: the diagonal first, then the most confused pairs.

    Args:
        matrices: the matrix of each label, one after the other.
    """
    with atomic_open(path, newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("truth", "prediction", "images", "share_of_truth"))
        for matrix in matrices:
            right = [
                (int(matrix.truths[p]), int(matrix.predictions[p]), int(matrix.images[p]),
                 float(matrix.shares[p]))
                for p in np.flatnonzero(matrix.truths == matrix.predictions)
            ]  # fmt: skip
            for i, j, images, share in [*right, *matrix.most_confused()]:
                writer.writerow((matrix.names[i], matrix.names[j], images, f"{share:.6g}"))


def draw_confusion(matrix: Confusion, title: str, path: Path) -> None:
    """Write a PNG. Up to `READABLE` classes, it shows every cell with its number.

    For more classes, it shows an overview and the most confused pairs.
    """
    from matplotlib.figure import Figure

    classes = len(matrix.names)
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
        with atomic_path(path) as partial:
            figure.savefig(partial, dpi=110)


def _draw_cells(figure: object, matrix: Confusion) -> None:
    classes = len(matrix.names)
    ax = figure.subplots()
    image = ax.imshow(_blocks(matrix, 1), cmap="Blues", vmin=0, vmax=1)
    pairs = (matrix.truths, matrix.predictions, matrix.images, matrix.shares)
    for i, j, images, share in zip(*pairs, strict=True):
        colour = "white" if share > 0.55 else "#1d2733"
        size = 8 if classes <= 15 else 6.5
        ax.text(j, i, f"{images:,}", ha="center", va="center", color=colour,
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


def _blocks(matrix: Confusion, block: int) -> np.ndarray:
    """Return the largest share in each square of `block` × `block` cells.

    The result is ``(C / block, C / block)``, rounded up.
    """
    side = -(-len(matrix.names) // block)
    blocks = np.zeros((side, side))
    np.maximum.at(blocks, (matrix.truths // block, matrix.predictions // block), matrix.shares)
    return blocks


def _draw_overview(ax: object, matrix: Confusion) -> None:
    """Draw the whole matrix. A power below 1 makes small shares visible."""
    classes = len(matrix.names)
    blocks = _blocks(matrix, -(-classes // _CELLS))
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
    ax.set_xlabel("images (share of the true class)")
    ax.xaxis.get_major_locator().set_params(integer=True)
