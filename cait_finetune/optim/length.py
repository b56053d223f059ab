"""Convert the length of a run or its warm-up to steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cait_finetune.config import ScheduleConfig, TrainConfig
from cait_finetune.config.checks import given


@dataclass(frozen=True)
class Length:
    """`total_steps` of training, with a validation after every `steps_per_epoch` steps."""

    total_steps: int
    steps_per_epoch: int


def run_length(config: TrainConfig, train_images: int) -> Length:
    """Return the length from `train.epochs`, `train.steps` or `train.examples`.

    A step has `batch_size` images. Without `train.steps_per_epoch`, an epoch has just enough steps
    for all images, and images of the next pass fill its last batch. The function rounds
    `train.examples` up to whole steps.

    Args:
        train_images: number of training images.
    """
    steps_per_epoch = config.steps_per_epoch or math.ceil(train_images / config.batch_size)
    if config.steps is not None:
        return Length(config.steps, steps_per_epoch)
    if config.examples is not None:
        return Length(math.ceil(config.examples / config.batch_size), steps_per_epoch)
    return Length(given(config.epochs) * steps_per_epoch, steps_per_epoch)


def warmup_length(config: ScheduleConfig, batch_size: int, steps_per_epoch: int) -> int:
    """Return the number of warm-up steps from whichever warm-up key is set."""
    if config.warmup_steps is not None:
        return config.warmup_steps
    if config.warmup_examples is not None:
        return math.ceil(config.warmup_examples / batch_size)
    return round(given(config.warmup_epochs) * steps_per_epoch)
