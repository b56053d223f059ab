"""How long a run is: in steps, whatever it was said in."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cait_finetune.config import ScheduleConfig, TrainConfig


@dataclass(frozen=True)
class Length:
    """`total_steps` of training; an epoch, after which is validated, has `steps_per_epoch`."""

    total_steps: int
    steps_per_epoch: int


def run_length(config: TrainConfig, train_images: int) -> Length:
    """From whichever of `train.epochs`, `train.steps` and `train.examples` is given.

    A step is `batch_size` images; unless `train.steps_per_epoch` says otherwise an epoch has as many
    steps as make up all images, the last batch being filled with the next pass's first. Examples are
    rounded up to whole steps.
    """
    steps_per_epoch = config.steps_per_epoch or math.ceil(train_images / config.batch_size)
    if config.steps is not None:
        return Length(config.steps, steps_per_epoch)
    if config.examples is not None:
        return Length(math.ceil(config.examples / config.batch_size), steps_per_epoch)
    return Length(config.epochs * steps_per_epoch, steps_per_epoch)


def warmup_length(config: ScheduleConfig, batch_size: int, steps_per_epoch: int) -> int:
    """Steps of the warm-up, from whichever of its three keys is given."""
    if config.warmup_steps is not None:
        return config.warmup_steps
    if config.warmup_examples is not None:
        return math.ceil(config.warmup_examples / batch_size)
    return round(config.warmup_epochs * steps_per_epoch)
