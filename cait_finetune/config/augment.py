"""Random augmentation of training images."""

from __future__ import annotations

import math
from dataclasses import dataclass

from omegaconf import MISSING

from cait_finetune.config.checks import within
from cait_finetune.errors import bad_value

_RANGES = (
    ("flip", 0, 1),
    ("rand_operations", 0, 16),
    ("rand_magnitude", 0, 10),
    ("rand_magnitude_std", 0, 10),
    ("rand_probability", 0, 1),
    ("color_jitter", 0, 1),
    ("erasing", 0, 1),
    ("mixup", 0, 100),
    ("cutmix", 0, 100),
    ("mix_probability", 0, 1),
    ("mix_switch_probability", 0, 1),
    ("repeats", 1, 64),
)


@dataclass
class AugmentConfig:
    """The augmentations of an image, in the order of their application; two images are mixed last.

    `crop_scale` and `crop_ratio` are the ranges of a random resized crop: its fraction of the image
    area, and its width / height. A fraction above 1 zooms out: the image gets a black border.
    `flip` is the probability of mirroring the image.

    RandAugment applies `rand_operations` operations to each image, each with probability
    `rand_probability`. Their strength is `rand_magnitude` (0 to 10) with normal noise of standard
    deviation `rand_magnitude_std`. `three_augment` converts to grey, solarizes or blurs the image.
    `color_jitter` is how far the factors of brightness, contrast and saturation may differ from 1.
    `erasing` is the probability of a box of noise.

    `mixup` and `cutmix` are the alphas of the two methods; 0 disables a method. A pair of images is
    mixed with probability `mix_probability`. If both methods are enabled, CutMix is used with
    probability `mix_switch_probability`. `repeats` is the number of times that a pass uses each
    image, with other augmentations each time.
    """

    crop_scale: list[float] = MISSING
    crop_ratio: list[float] = MISSING
    flip: float = MISSING
    rand_operations: int = 0
    rand_magnitude: float = 9.0
    rand_magnitude_std: float = 0.5
    rand_probability: float = 0.5
    three_augment: bool = False
    color_jitter: float = 0.0
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_probability: float = 1.0
    mix_switch_probability: float = 0.5
    repeats: int = 1

    def __post_init__(self) -> None:
        for key, low, high in _RANGES:
            within(f"augment.{key}", getattr(self, key), low, high)
        for key, highest in (("crop_scale", 4.0), ("crop_ratio", math.inf)):
            value = getattr(self, key)
            ordered = len(value) == 2 and 0 < value[0] <= value[1] <= highest
            if not ordered:
                bound = f" ≤ {highest:g}" if math.isfinite(highest) else ""
                raise bad_value(
                    f"augment.{key}", list(value), f"[low, high], 0 < low ≤ high{bound}"
                )
