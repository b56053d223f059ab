"""The size of a model's input: one side of a square, or height and width."""

from __future__ import annotations

import re
from typing import Any

from cait_finetune.errors import bad_value

_EXPECTED = "one side, or [height,width], in pixels"


def parse_image_size(key: str, value: Any) -> int | list[int] | None:
    """Return one side, [height, width] or `None`, and check the type of a typed value.

    Raises:
        UserError: the value is none of these.
    """
    if value is None:
        return None
    # An environment variable and quotes in YAML give text.
    sides = [
        int(side) if str(side).isdecimal() else side
        for side in (value if isinstance(value, list) else [value])
    ]
    whole = all(isinstance(side, int) and not isinstance(side, bool) for side in sides)
    if whole and not isinstance(value, list):
        return sides[0]
    if whole and len(sides) == 2:
        return sides
    typed = re.findall(r"[\d.]+", str(value))
    right = {1: "".join(typed), 2: f"[{','.join(typed)}]"}.get(len(typed))
    hint = f"Write '{key}={right}'" if right and "." not in right else ""
    raise bad_value(key, value, _EXPECTED, hint)


def check_image_size(key: str, size: int | list[int] | None, model: str, patch_size: int) -> None:
    """Check that patches fill the input.

    Args:
        key: the key that messages name.
        size: one side or [height, width], in pixels. `None`: the variant's.
        model: name of the variant, for messages.

    Raises:
        UserError: the patch size does not divide a side.
    """
    sides = size if isinstance(size, list) else [] if size is None else [size]
    if all(side % patch_size == 0 for side in sides):
        return
    near = [str(max(1, round(side / patch_size)) * patch_size) for side in sides]
    several = len(near) > 1
    example = f"[{','.join(near)}]" if several else near[0]
    raise bad_value(
        key,
        size,
        f"{'multiples' if several else 'a multiple'} of {model}'s patch size {patch_size}, "
        f"for instance {example}",
    )
