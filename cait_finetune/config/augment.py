"""Random augmentation of training images."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cait_finetune.config.keys import check_keys, key
from cait_finetune.errors import bad_value


@dataclass
class AugmentConfig:
    """The augmentations of an image, in the order of their application; two images are mixed last."""

    crop_scale: list[float] = key(
        "Range of a random resized crop's fraction of the image area. Above 1 the image gets a black border."
    )
    crop_ratio: list[float] = key("Range of a random resized crop's width / height.")
    flip: float = key("Probability of mirroring the image.", low=0, high=1)
    rand_operations: int = key(
        "Operations of RandAugment for each image. 0: none.", 0, low=0, high=16
    )
    rand_magnitude: float = key("Strength of RandAugment.", 9.0, low=0, high=10)
    rand_magnitude_std: float = key("Standard deviation of the strength.", 0.5, low=0, high=10)
    rand_probability: float = key(
        "Probability of each operation of RandAugment.", 0.5, low=0, high=1
    )
    three_augment: bool = key("DeiT III's 3-Augment: grey, solarize or blur the image.", False)
    color_jitter: float = key(
        "How far the factors of brightness, contrast and saturation differ from 1.",
        0.0,
        low=0,
        high=1,
    )
    erasing: float = key("Probability of a box of noise.", 0.0, low=0, high=1)
    mixup: float = key("Alpha of mixup. 0: none.", 0.0, low=0, high=100)
    cutmix: float = key("Alpha of CutMix. 0: none.", 0.0, low=0, high=100)
    mix_probability: float = key("Probability that a pair of images is mixed.", 1.0, low=0, high=1)
    mix_switch_probability: float = key(
        "Probability of CutMix, if mixup and CutMix are on.", 0.5, low=0, high=1
    )
    repeats: int = key(
        "Times that a pass uses each image, with other augmentations each time.", 1, low=1, high=64
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
