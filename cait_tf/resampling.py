"""An axis of an image at another length by one matrix product, as PIL resamples it."""

from __future__ import annotations

from typing import Any

from keras import ops


def resampling_matrix(
    length: Any, new_length: int, start: Any, step: Any, interpolation: str, antialias: bool = True
) -> Any:
    """``(new_length, length)`` float32: each row has the shares of the old pixels in a new one.

    PIL's ``ImagingResample``: the kernel, as wide as a new pixel when shrinking, is laid around the
    new pixel's middle, and its values at the old pixels' middles are made to add up to 1. A new pixel
    whose middle is outside the image is black.

    Args:
        length: pixels there are, a number or a scalar tensor.
        start: where in the old pixels the first new one begins.
        step: how many old pixels a new one is wide.
        interpolation: ``bicubic`` or ``bilinear``.
        antialias: False: the kernel is never widened.
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
    """Overshoot cut off, and the rest rounded to grey levels from 0 to 255, halves up."""
    return ops.floor(ops.clip(x, 0.0, 255.0) + 0.5)


def _bicubic(x: Any) -> Any:
    """Keys' kernel with a = -1/2, of distances from 0 on."""
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    return ops.where(x < 1.0, near, ops.where(x < 2.0, far, 0.0))


def _bilinear(x: Any) -> Any:
    return ops.maximum(1.0 - x, 0.0)


#: By name, the share of a pixel at a distance.
KERNELS = {"bicubic": _bicubic, "bilinear": _bilinear}
