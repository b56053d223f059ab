"""Check the arguments of a model, and raise an error that names the wrong argument."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import TYPE_CHECKING

from cait_tf.errors import CaiTError

if TYPE_CHECKING:
    import keras
    from typing_extensions import TypeIs


def is_whole(value: object) -> TypeIs[int]:
    """Whether `value` is an integer of Python, NumPy or another library."""
    return isinstance(value, numbers.Integral)


def is_number(value: object) -> TypeIs[float]:
    """Whether `value` is a real number of Python, NumPy or another library."""
    return isinstance(value, numbers.Real)


def check_whole(**values: object) -> None:
    """Check that every value is a whole number of at least 1.

    Raises:
        CaiTError: a value is not such a number. The message names the first wrong argument.
    """
    for key, number in values.items():
        if not is_whole(number) or number < 1:
            raise CaiTError(f"{key}: got {number!r}, expected a whole number from 1")


def check_positive(**values: object) -> None:
    """Check that every value is a number above 0.

    Raises:
        CaiTError: a value is not such a number. The message names the first wrong argument.
    """
    for key, number in values.items():
        if not is_number(number) or not number > 0:
            raise CaiTError(f"{key}: got {number!r}, expected a number above 0")


def check_rates(**values: object) -> None:
    """Check that every value is a dropout rate: a number in [0, 1).

    Raises:
        CaiTError: a value is not such a number. The message names the first wrong argument.
    """
    for key, rate in values.items():
        if not is_number(rate) or not 0 <= rate < 1:
            raise CaiTError(f"{key}: got {rate!r}, expected a number in [0, 1)")


def check_precision(policy: keras.DTypePolicy) -> None:
    """Check that `policy` is not pure half precision.

    Raises:
        CaiTError: `policy` is pure ``float16`` or ``bfloat16``.
    """
    if policy.name in ("float16", "bfloat16"):
        raise CaiTError(
            f"dtype: got {policy.name}, expected float32, mixed_{policy.name} or another precision "
            "whose LayerScale and softmax stay in float32"
        )


def image_shape(image_size: int | Sequence[int]) -> tuple[int, int]:
    """Return ``(height, width)`` of an image size given as one side or as ``[height, width]``.

    Raises:
        CaiTError: the image size has neither form.
    """
    sides = (image_size, image_size) if is_whole(image_size) else image_size
    if (
        hasattr(sides, "__len__")
        and len(sides) == 2
        and all(is_whole(side) and side > 0 for side in sides)
    ):
        return int(sides[0]), int(sides[1])
    raise CaiTError(f"image_size: got {image_size!r}, expected one side or [height, width]")


def grid_shape(height: int, width: int, patch_size: int) -> tuple[int, int]:
    """Return the number of patches along the height and along the width.

    Raises:
        CaiTError: a side of the image is not a multiple of the patch size.
    """
    if height % patch_size or width % patch_size:
        nearest = (max(1, round(side / patch_size)) * patch_size for side in (height, width))
        raise CaiTError(
            f"image_size: got {height}x{width}, expected multiples of the patch size {patch_size}, "
            f"for instance {'x'.join(map(str, nearest))}"
        )
    return height // patch_size, width // patch_size
