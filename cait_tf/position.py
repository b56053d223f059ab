"""Resample position embeddings to another grid."""

from __future__ import annotations

import numpy as np

from cait_tf.keras_ops import ops


def resample(
    pos_embed: np.ndarray, source_grid: tuple[int, int], target_grid: tuple[int, int]
) -> np.ndarray:
    """Interpolate ``(1, h*w, D)`` from one ``(h, w)`` grid to another.

    The interpolation is bicubic and antialiased, in float32, as in timm's
    ``resample_abs_pos_embed``. CaiT has no position for the class token, so the function resamples
    the whole embedding.
    """
    dim = pos_embed.shape[-1]
    image = np.asarray(pos_embed, "float32").reshape(1, *source_grid, dim)  # (1, h, w, D)
    image = ops.image.resize(
        image, target_grid, interpolation="bicubic", antialias=True, data_format="channels_last"
    )
    return ops.convert_to_numpy(image).reshape(1, target_grid[0] * target_grid[1], dim)
