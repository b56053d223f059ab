"""The geometry of evaluation: the size of a resized image, and the part of the image that is kept.

Every resizer of this project calls this module: PIL's, TensorFlow's and that of exported models.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any


def centre_crop(
    sides: Sequence[Any],
    size: Sequence[int],
    crop_pct: float,
    resize_mode: str = "shorter_side",
    maximum: Callable[[Any, Any], Any] = max,
) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Return the height and width of the resized image, and the top and left of its centre crop.

    Source: torchvision's Resize and CenterCrop, whose ``int(size * long / short)`` and ``round`` are
    integer arithmetic here.

    Args:
        sides: height and width of the image: integers, or integer tensors of any backend.
        size: height and width of the crop, in pixels.
        crop_pct: the crop's sides divided by the sides of the box that the resized image covers.
        resize_mode: ``shorter_side``: keep the aspect ratio and round the longer side down.
            ``squash``: resize to that box.
        maximum: returns the larger of two values of the type of `sides`.
    """
    covered = (math.floor(size[0] / crop_pct), math.floor(size[1] / crop_pct))
    scaled: tuple[Any, Any] = covered
    if resize_mode == "shorter_side":
        height, width = sides
        scaled = (  # the tensor first: TensorFlow takes the type of the first value
            maximum(covered[1] * height // width, covered[0]),
            maximum(covered[0] * width // height, covered[1]),
        )
    return scaled, (_half(scaled[0] - size[0]), _half(scaled[1] - size[1]))


def padded_box(
    sides: Sequence[Any], size: Sequence[int], maximum: Callable[[Any, Any], Any] = max
) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Return the smallest box around an image with the aspect ratio of `size`, for ``pad``.

    The box is centred on the image. The result is its top and left, and its height and width.

    Args:
        sides: height and width of the image: numbers, or floating-point tensors of any backend.
        size: height and width of the model's input, in pixels.
        maximum: as for `centre_crop`.
    """
    height, width = sides
    box = (
        maximum(height, width * (size[0] / size[1])),
        maximum(width, height * (size[1] / size[0])),
    )
    return ((height - box[0]) / 2, (width - box[1]) / 2), box


def _half(margin: Any) -> Any:
    """Return half of an integer, rounded half to even as Python's ``round`` does."""
    return (margin + margin // 2 % 2) // 2
