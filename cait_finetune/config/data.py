"""The images: which ones, how they are read, and what is done to them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from omegaconf import MISSING

from cait_finetune.config.checks import one_of, within
from cait_finetune.errors import bad_value


@dataclass
class SplitsConfig:
    """TFDS split expressions; null follows what the set has."""

    train: str | None = None
    validation: str | None = None
    test: str | None = None


@dataclass
class DatasetConfig:
    """Which images, and how they are read.

    `metric` is what the set is judged by: it decides which epoch is best. `cache` keeps training and
    validation images in memory. A set that is `evaluation_only` is refused by training.
    """

    source: str = "tfds"
    name: str = MISSING
    data_dir: str | None = None
    splits: SplitsConfig = field(default_factory=SplitsConfig)
    num_classes: int | None = None
    metric: str = "top1"
    evaluation_only: bool = False
    allow_flip: bool = True
    on_corrupt: str = "stop"
    shuffle_buffer: int = 4096
    cache: bool = False

    def __post_init__(self) -> None:
        one_of("dataset.source", self.source, ("tfds", "digits", "imagenet_folder"))
        one_of("dataset.metric", self.metric, ("top1", "mean_per_class"))
        one_of("dataset.on_corrupt", self.on_corrupt, ("stop", "skip"))
        within("dataset.shuffle_buffer", self.shuffle_buffer, 1)
        if self.num_classes is not None:
            within("dataset.num_classes", self.num_classes, 2)


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
