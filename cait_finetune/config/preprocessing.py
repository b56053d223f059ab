"""Changes to the preprocessing that a model variant was trained with."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cait_finetune.config.keys import check_keys, key
from cait_finetune.errors import bad_value


@dataclass
class PreprocessingConfig:
    """Preprocessing of training, evaluation and export. null: the variant's own value.

    Training with random crops ignores `resize_mode` and `crop_pct`.
    """

    resize_mode: str = key(
        "shorter_side: resize the image to cover image_size / crop_pct (a square: its shorter side) and crop "
        "the centre. squash: resize both sides to image_size / crop_pct and crop the centre. pad: resize the "
        "whole image to fit in image_size and pad with black.", "shorter_side", choices=("shorter_side", "squash", "pad"),
    )  # fmt: skip
    crop_pct: float | None = key(
        "Side of the crop divided by the resized side.", None, low=0.1, high=1
    )
    interpolation: str | None = key(
        "Interpolation for resizing.", None, choices=("bicubic", "bilinear")
    )
    antialias: bool = key("Widen the resizing kernel when shrinking, as PIL does.", True)
    mean: list[float] | None = key("Means of red, green and blue, for normalisation.", None)
    std: list[float] | None = key("Standard deviations of red, green and blue.", None)

    def __post_init__(self) -> None:
        check_keys(self, "preprocessing")
        if self.crop_pct is not None and self.resize_mode == "pad":
            raise bad_value(
                "preprocessing.crop_pct",
                f"{self.crop_pct} with preprocessing.resize_mode=pad",
                "null: pad keeps the whole image",
            )
        for name, least in (("mean", 0.0), ("std", 1e-3)):
            values = getattr(self, name)
            if values is None:
                continue
            if len(values) != 3 or not all(math.isfinite(v) and least <= v <= 1 for v in values):
                raise bad_value(
                    f"preprocessing.{name}",
                    list(values),
                    f"three numbers from {least:g} to 1, for red, green and blue",
                )
