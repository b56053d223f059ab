"""How an image is brought to the model, where that should be otherwise than the variant has it."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cait_finetune.config.checks import one_of, within
from cait_finetune.errors import bad_value


@dataclass
class PreprocessingConfig:
    """The same for training, evaluation and export; null is the variant's own.

    `resize_mode` is ``shorter_side`` with a square cut out of the middle, ``squash`` to a square, or
    ``pad`` to one with black, for which `crop_pct` says nothing. Training with random crops takes
    these instead, and the rest from here.
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
                    "null there: the whole image is shown",
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
