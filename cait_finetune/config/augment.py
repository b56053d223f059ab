"""What is done to training images at random."""

from __future__ import annotations

import math
from dataclasses import dataclass

from omegaconf import MISSING

from cait_finetune.config.checks import within
from cait_finetune.errors import bad_value


@dataclass
class AugmentConfig:
    """Random resized crop (share of the area, width/height), mirroring, mixing of two images.

    A share above 1 zooms out: the image gets a black border. `mixup` and `cutmix` are the alphas of
    the two methods, 0 for none; a pair of images is mixed with `mix_probability`, and where both
    methods are on, by CutMix with `mix_switch_probability`.
    """

    crop_scale: list[float] = MISSING
    crop_ratio: list[float] = MISSING
    flip: float = MISSING
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_probability: float = 1.0
    mix_switch_probability: float = 0.5

    def __post_init__(self) -> None:
        for key in ("flip", "mix_probability", "mix_switch_probability"):
            within(f"augment.{key}", getattr(self, key), 0, 1)
        for key in ("mixup", "cutmix"):
            within(f"augment.{key}", getattr(self, key), 0, 100)
        for key, highest in (("crop_scale", 4.0), ("crop_ratio", math.inf)):
            value = getattr(self, key)
            ordered = len(value) == 2 and 0 < value[0] <= value[1] <= highest
            if not ordered:
                bound = f" ≤ {highest:g}" if math.isfinite(highest) else ""
                raise bad_value(
                    f"augment.{key}", list(value), f"[low, high], 0 < low ≤ high{bound}"
                )
