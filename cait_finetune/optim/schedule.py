"""The learning rate as a function of the step."""

from __future__ import annotations

import dataclasses
import math

from cait_finetune.config import ScheduleConfig


@dataclasses.dataclass(frozen=True)
class WarmupCosine:
    """Linear from `warmup_lr` to `base_lr` in `warmup_steps`, then half a cosine to `min_lr`.

    The last step, ``total_steps - 1``, gets `min_lr`, if there are steps after the warm-up.
    """

    base_lr: float
    warmup_lr: float
    min_lr: float
    warmup_steps: int
    total_steps: int

    def __call__(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            share = step / self.warmup_steps
            return self.warmup_lr + share * (self.base_lr - self.warmup_lr)
        decay_steps = max(1, self.total_steps - 1 - self.warmup_steps)
        share = min(1.0, (step - self.warmup_steps) / decay_steps)
        return self.min_lr + 0.5 * (self.base_lr - self.min_lr) * (1 + math.cos(math.pi * share))


def build_schedule(
    config: ScheduleConfig, base_lr: float, steps_per_epoch: int, epochs: int
) -> WarmupCosine:
    """The schedule in steps. A run shorter than twice its warm-up warms up for its first half."""
    total = steps_per_epoch * epochs
    warmup = min(round(config.warmup_epochs * steps_per_epoch), total // 2)
    return WarmupCosine(base_lr, config.warmup_lr, config.min_lr, warmup, total)
