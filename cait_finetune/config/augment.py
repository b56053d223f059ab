"""Random augmentation of training images."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cait_finetune.config.keys import check_keys, key
from cait_finetune.errors import bad_value


@dataclass
class AugmentConfig:
    """The augmentations, in the order in which they are applied; mixing pairs of images comes last."""

    crop_scale: list[float] = key(
        "Range of the random crop's share of the image area. Above 1 the image gets a black border."
    )
    crop_ratio: list[float] = key(
        "Range of the random crop's width / height, relative to the input's."
    )
    flip: float = key("Probability of mirroring the image.", low=0, high=1)
    rand_operations: int = key(
        "Operations of RandAugment for each image. 0: none.", 0, low=0, high=16
    )
    rand_magnitude: float = key("Strength of RandAugment.", 9.0, low=0, high=10)
    rand_magnitude_std: float = key("Standard deviation of `rand_magnitude`.", 0.5, low=0, high=10)
    rand_probability: float = key(
        "Probability of each operation of RandAugment.", 0.5, low=0, high=1
    )
    three_augment: bool = key(
        "DeiT III's 3-Augment: turn the image grey, solarize it, or blur it.", False
    )
    color_jitter: float = key(
        "Largest difference from 1 of the factors of brightness, contrast and saturation.",
        0.0,
        low=0,
        high=1,
    )
    erasing: float = key(
        "Probability of random erasing: noise fills a box of the image.", 0.0, low=0, high=1
    )
    mixup: float = key("Alpha of mixup. 0: none.", 0.0, low=0, high=100)
    cutmix: float = key("Alpha of CutMix. 0: none.", 0.0, low=0, high=100)
    mix_probability: float = key("Probability that a pair of images is mixed.", 1.0, low=0, high=1)
    mix_switch_probability: float = key(
        "Probability of CutMix instead of mixup, if both are on.", 0.5, low=0, high=1
    )
    repeats: int = key(
        "Number of times that each pass over the images uses an image, each time augmented anew.",
        1,
        low=1,
        high=64,
    )

    def __post_init__(self) -> None:
        check_keys(self, "augment")
        for name, highest in (("crop_scale", 4.0), ("crop_ratio", math.inf)):
            value = getattr(self, name)
            ordered = len(value) == 2 and 0 < value[0] <= value[1] <= highest
            if not ordered:
                bound = f" ≤ {highest:g}" if math.isfinite(highest) else ""
                raise bad_value(
                    f"augment.{name}", list(value), f"[low, high], 0 < low ≤ high{bound}"
                )
