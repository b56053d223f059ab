"""A map over an image."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps

_COLORS = colormaps["cividis"]
_ALPHA = 0.9  # of the strongest attention; the weakest leaves the image as it is


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Colours over an image ``(S, S, 3)``, the stronger the higher ``(S, S)``; all from 0 to 1."""
    alpha = _ALPHA * heat[..., None]
    return alpha * _COLORS(heat)[..., :3] + (1 - alpha) * image
