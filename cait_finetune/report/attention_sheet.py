"""A figure of correct and wrong predictions with the model's saliency maps."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cait_finetune.report.overlay import overlay
from cait_finetune.report.style import drawing, short
from cait_tf.atomic import atomic_path

_COLUMNS = 4  # tiles per row at most
_LETTERS = 22  # characters that fit above an image


@dataclasses.dataclass(frozen=True)
class Tile:
    """One image with its saliency map, its true class and its prediction.

    Attributes:
        image: ``(H, W, 3)`` in [0, 1].
        saliency: ``(H, W)`` in [0, 1].
        probability: the probability of the prediction. `None`: the prediction is a number.
    """

    image: np.ndarray
    saliency: np.ndarray
    truth: str
    prediction: str
    probability: float | None


def draw_attention_sheet(
    right: Sequence[Tile],
    wrong: Sequence[Tile],
    title: str,
    path: Path,
    mistakes: str = "most confident mistakes",
) -> None:
    """Draw each image beside the same image with its saliency map, and write a PNG.

    The figure shows correct predictions above wrong ones. At least one tile is needed. The larger
    group determines the number of columns.

    Args:
        mistakes: the title of the wrong predictions.
    """
    blocks = [(name, tiles) for name, tiles in (("right", right), (mistakes, wrong)) if tiles]
    columns = min(_COLUMNS, max(len(tiles) for _, tiles in blocks))
    lines = [-(-len(tiles) // columns) for _, tiles in blocks]
    with drawing():
        figure = Figure(figsize=(3.4 * columns, 2.15 * sum(lines) + 0.9), layout="constrained")
        figure.suptitle(title, fontsize=13, wrap=True)
        parts = figure.subfigures(len(blocks), 1, height_ratios=lines, squeeze=False)[:, 0]
        for part, (name, tiles), count in zip(parts, blocks, lines, strict=True):
            part.suptitle(name, fontsize=12)
            axes = part.subplots(count, 2 * columns, squeeze=False)
            for ax in axes.flat:
                ax.set_axis_off()
            for number, tile in enumerate(tiles):
                _draw_tile(tile, *axes[number // columns][2 * (number % columns) :][:2])
        with atomic_path(path) as partial:
            figure.savefig(partial, dpi=110)


def _draw_tile(tile: Tile, plain: Axes, mapped: Axes) -> None:
    plain.imshow(tile.image)
    plain.set_title(short(tile.truth, _LETTERS), fontsize=10)
    mapped.imshow(overlay(tile.image, tile.saliency))
    said = short(tile.prediction, _LETTERS - 5)
    if tile.probability is not None:
        said += f" {tile.probability:.0%}"
    mapped.set_title(said, fontsize=10)
