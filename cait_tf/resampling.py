"""Resample an image along one axis with a matrix product, as PIL does."""

from __future__ import annotations

from typing import Any

from cait_tf.keras_ops import ops


def resampling_matrix(
    length: Any, new_length: int, start: Any, step: Any, interpolation: str, antialias: bool = True
) -> Any:
    """Return ``(new_length, length)`` float32: row i has the weights of the old pixels in new pixel i.

    The weights are those of PIL's ``ImagingResample``. The kernel is centred on the new pixel, evaluated
    at the centres of the old pixels, and normalised to sum to 1. When shrinking, the kernel is scaled to
    the width of a new pixel. A new pixel whose centre is outside the image is black.

    Args:
        length: number of old pixels, a number or a scalar tensor.
        new_length: number of new pixels.
        start: position of the first new pixel's edge, in old pixels.
        step: width of a new pixel, in old pixels.
        interpolation: ``bicubic`` or ``bilinear``.
        antialias: False: do not scale the kernel when shrinking.
    """
    middles = start + (ops.arange(new_length, dtype="float32") + 0.5) * step  # (new,)
    pixels = ops.cast(ops.arange(length), "float32") + 0.5  # (length,)
    width = ops.maximum(step, 1.0) if antialias else 1.0
    distances = ops.abs(pixels[None, :] - middles[:, None]) / width  # (new, length)
    shares = KERNELS[interpolation](distances)
    inside = ops.logical_and(middles >= 0, middles <= ops.cast(length, "float32"))
    total = ops.where(inside, ops.sum(shares, axis=1), 1.0)
    return shares * (ops.cast(inside, "float32") / total)[:, None]


def whole_levels(x: Any) -> Any:
    """Clip to the range from 0 to 255, and round to whole grey levels, halves up."""
    return ops.floor(ops.clip(x, 0.0, 255.0) + 0.5)


def _bicubic(x: Any) -> Any:
    """Return Keys' cubic kernel with a = -1/2 at distances of 0 or more."""
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return ops.where(x < 1.0, near, ops.where(x < 2.0, far, 0.0))


def _bilinear(x: Any) -> Any:
    return ops.maximum(1.0 - x, 0.0)


#: Kernels by name: the weight of a pixel at a distance, before normalisation.
KERNELS = {"bicubic": _bicubic, "bilinear": _bilinear}
