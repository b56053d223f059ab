"""What the arguments of a model must be, and the message for one that is not."""

from __future__ import annotations

import numbers
from collections.abc import Sequence

import keras

from cait_tf.errors import CaiTError


def check_whole(**values: object) -> None:
    """Whether all are whole numbers of at least 1.

    Raises:
        CaiTError: the first that is not.
    """
    for key, number in values.items():
        if not isinstance(number, numbers.Integral) or number < 1:
            raise CaiTError(f"{key}: got {number!r}, expected a whole number from 1")


def check_positive(**values: object) -> None:
    """Whether all are numbers above 0.

    Raises:
        CaiTError: the first that is not.
    """
    for key, number in values.items():
        if not isinstance(number, numbers.Real) or not number > 0:
            raise CaiTError(f"{key}: got {number!r}, expected a number above 0")


def check_rates(**values: object) -> None:
    """Whether all are shares of what may be dropped.

    Raises:
        CaiTError: the first that is not.
    """
    for key, rate in values.items():
        if not isinstance(rate, numbers.Real) or not 0 <= rate < 1:
            raise CaiTError(f"{key}: got {rate!r}, expected a number in [0, 1)")


def check_precision(policy: keras.DTypePolicy) -> None:
    """Whether LayerScale and softmax can stay in float32.

    Raises:
        CaiTError: they cannot.
    """
    if policy.name in ("float16", "bfloat16"):
        raise CaiTError(
            f"dtype: got {policy.name}, expected float32, mixed_{policy.name} or another precision "
            "whose LayerScale and softmax stay in float32"
        )


def image_shape(image_size: int | Sequence[int]) -> tuple[int, int]:
    """``(height, width)`` of an image size given as one side or as ``[height, width]``.

    Raises:
        CaiTError: it is neither.
    """
    sides = (image_size, image_size) if isinstance(image_size, numbers.Integral) else image_size
    if (
        hasattr(sides, "__len__")
        and len(sides) == 2
        and all(isinstance(side, numbers.Integral) and side > 0 for side in sides)
    ):
        return int(sides[0]), int(sides[1])
    raise CaiTError(f"image_size: got {image_size!r}, expected one side or [height, width]")


def grid_shape(height: int, width: int, patch_size: int) -> tuple[int, int]:
    """How many patches there are in each direction.

    Raises:
        CaiTError: they do not fill the image.
    """
    if height % patch_size or width % patch_size:
        nearest = (max(1, round(side / patch_size)) * patch_size for side in (height, width))
        raise CaiTError(
            f"image_size: got {height}x{width}, expected multiples of the patch size {patch_size}, "
            f"for instance {'x'.join(map(str, nearest))}"
        )
    return height // patch_size, width // patch_size
