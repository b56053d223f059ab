"""Overlay a saliency map on an image."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps

_COLORS = colormaps["cividis"]
_ALPHA = 0.9  # opacity where the map is 1; where it is 0, the image is unchanged


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Return the image with the map as colours over it, ``(H, W, 3)`` in [0, 1].

    Args:
        image: ``(H, W, 3)`` in [0, 1].
        heat: ``(H, W)`` in [0, 1]. Higher values are more opaque.
    """
    alpha = _ALPHA * heat[..., None]
    return alpha * _COLORS(heat)[..., :3] + (1 - alpha) * image
