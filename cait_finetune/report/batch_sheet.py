"""The figure of one batch: preprocessed images with their labels."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from cait_tf.atomic import atomic_path

_COLUMNS, _WIDTH = 8, 1.75  # images per row; width of an image in inches
_LINE = 28  # characters that fit below an image


def draw_batch_sheet(images: np.ndarray, captions: Sequence[str], title: str, path: Path) -> None:
    """Draw a grid of images with a caption below each, and write a PNG.

    Args:
        images: ``(n, H, W, 3)`` in [0, 1].
        captions: one per image, of one or more lines. Long lines are shortened.
    """
    columns = min(_COLUMNS, len(images))
    rows = -(-len(images) // columns)
    wrapped = [
        "\n".join(textwrap.shorten(line, _LINE, placeholder="…") for line in caption.split("\n"))
        for caption in captions
    ]
    lines = max(caption.count("\n") for caption in wrapped) + 1
    tall, wide = images.shape[1:3]
    height = (_WIDTH * tall / wide + 0.05 + 0.14 * lines) * rows + 0.5
    # The title needs a minimum width, also for few images.
    figure = Figure(figsize=(max(_WIDTH * columns, 7.0) + 0.2, height), layout="constrained")
    figure.suptitle(title, fontsize=11)
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, image, caption in zip(axes.flat, images, wrapped, strict=False):
        ax.imshow(image, interpolation="nearest")
        ax.set_axis_on()
        ax.set_xticks([])
        ax.set_yticks([])
        for spine in ax.spines.values():
            spine.set_color("0.8")
        ax.set_xlabel(caption, fontsize=8, labelpad=3)
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=130)
