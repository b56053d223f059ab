"""Changes to the preprocessing that a model variant was trained with."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cait_finetune.config.checks import one_of, within
from cait_finetune.errors import bad_value


@dataclass
class PreprocessingConfig:
    """Preprocessing of training, evaluation and export. Null keeps the variant's own value.

    `resize_mode`: ``shorter_side`` resizes the shorter side to ``image_size / crop_pct`` and crops the
    centre square. ``squash`` resizes both sides to ``image_size / crop_pct`` and crops the centre.
    ``pad`` resizes the longer side to ``image_size`` and pads with black; `crop_pct` must be null.
    Training with random crops ignores `resize_mode` and `crop_pct`.
    """

    resize_mode: str = "shorter_side"
    crop_pct: float | None = None
    interpolation: str | None = None
    antialias: bool = True
    mean: list[float] | None = None
    std: list[float] | None = None

    def __post_init__(self) -> None:
        one_of("preprocessing.resize_mode", self.resize_mode, ("shorter_side", "squash", "pad"))
        if self.crop_pct is not None:
            within("preprocessing.crop_pct", self.crop_pct, 0.1, 1)
            if self.resize_mode == "pad":
                raise bad_value(
                    "preprocessing.crop_pct",
                    f"{self.crop_pct} with preprocessing.resize_mode=pad",
                    "null: pad keeps the whole image",
                )
        if self.interpolation is not None:
            one_of("preprocessing.interpolation", self.interpolation, ("bicubic", "bilinear"))
        for key, least in (("mean", 0.0), ("std", 1e-3)):
            values = getattr(self, key)
            if values is None:
                continue
            if len(values) != 3 or not all(math.isfinite(v) and least <= v <= 1 for v in values):
                raise bad_value(
                    f"preprocessing.{key}",
                    list(values),
                    f"three numbers from {least:g} to 1, for red, green and blue",
                )
