"""A contact sheet: what a fine-tuned model gets right and wrong, and where it looks."""

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

_COLUMNS = 4  # at most
_LETTERS = 22  # that fit above an image


@dataclasses.dataclass(frozen=True)
class Tile:
    """One image ``(S, S, 3)`` from 0 to 1, its saliency ``(S, S)`` from 0 to 1, and what was said."""

    image: np.ndarray
    saliency: np.ndarray
    truth: str
    prediction: str
    probability: float


def draw_attention_sheet(
    right: Sequence[Tile], wrong: Sequence[Tile], title: str, path: Path
) -> None:
    """Pairs of image and image with saliency; right ones above, wrong ones below.

    As wide as the fuller of the two: a sheet of one mistake alone is one pair.
    """
    blocks = [
        (name, tiles) for name, tiles in (("right", right), ("most sure and wrong", wrong)) if tiles
    ]
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
    mapped.set_title(f"{said} {tile.probability:.0%}", fontsize=10)
