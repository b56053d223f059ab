"""Draw attention maps as PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cait_tf.atomic import atomic_path

_COLORS = "cividis"
_ALPHA = 0.9  # opacity of the strongest attention; the weakest has opacity 0


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Blend the colours of a map over an image. Higher values are more opaque.

    Args:
        image: ``(h, w, 3)`` uint8.
        heat: ``(h, w)``, from 0 to 1.
    """
    from matplotlib import colormaps

    heat = np.clip(heat, 0.0, 1.0)
    colors = colormaps[_COLORS](heat)[..., :3]  # (h, w, 3)
    alpha = _ALPHA * heat[..., None]
    return (255 * (alpha * colors + (1 - alpha) * (image / 255))).round().astype("uint8")


def _aspect(image: np.ndarray) -> float:
    """Return height divided by width, clipped to a range that a page can show."""
    return min(max(image.shape[0] / image.shape[1], 0.3), 3.0)


def draw_overlay(image: np.ndarray, heat: np.ndarray, title: str, kind: str, path: Path) -> None:
    """Draw three panels to `path`: the image, the map, and the map over the image."""
    from matplotlib.figure import Figure

    # Fit the figure's height to the images. A taller figure moves the title away from them.
    figure = Figure(figsize=(10.5, 0.9 + 3.05 * _aspect(image)), layout="constrained")
    axes = figure.subplots(1, 3)
    axes[0].imshow(image)
    axes[0].set_title("image")
    shown = axes[1].imshow(heat, cmap=_COLORS, vmin=0, vmax=1)
    axes[1].set_title(kind)
    axes[2].imshow(overlay(image, heat))
    axes[2].set_title("both")
    figure.colorbar(shown, ax=axes, aspect=15, pad=0.01, label="weakest to strongest")
    for ax in axes:
        ax.set_axis_off()
    figure.suptitle(title)
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=120)


def draw_heads(image: np.ndarray, blocks: Sequence[np.ndarray], title: str, path: Path) -> None:
    """Draw the map of every head of every class-attention block: ``blocks[j]`` is ``(H, h, w)``."""
    from matplotlib.figure import Figure

    columns = 1 + min(8, max(len(heads) for heads in blocks))
    lines = [-(-len(heads) // (columns - 1)) for heads in blocks]
    figure = Figure(
        figsize=(1.7 * columns, (1.65 * _aspect(image) + 0.3) * sum(lines) + 0.5),
        layout="constrained",
    )
    axes = figure.subplots(sum(lines), columns, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for j, heads in enumerate(blocks):
        first = sum(lines[:j])
        axes[first][0].imshow(image)
        axes[first][0].set_title(f"block {j}", fontsize=9)
        for k, head in enumerate(heads):
            ax = axes[first + k // (columns - 1)][1 + k % (columns - 1)]
            # Scale each head separately: strengths differ by orders of magnitude.
            ax.imshow(head, cmap=_COLORS)
            ax.set_title(f"head {k}", fontsize=9)
    figure.suptitle(f"class attention: {title}")
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=120)
