"""The images: which ones, and how they are read."""

from __future__ import annotations

from dataclasses import dataclass, field

from omegaconf import MISSING

from cait_finetune.config.checks import one_of, within


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
