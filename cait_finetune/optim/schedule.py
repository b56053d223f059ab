"""The learning rate as a function of the step."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass

from cait_finetune.config import ScheduleConfig
from cait_finetune.config.checks import given


@dataclass(frozen=True)
class Schedule(abc.ABC):
    """Linear warm-up from `warmup_lr` to `base_lr` in `warmup_steps`. Subclasses define the rest.

    All rates are absolute. The optimizer multiplies them by the multiplier of each row of the
    parameter table.
    """

    base_lr: float
    warmup_lr: float
    min_lr: float
    warmup_steps: int
    total_steps: int

    def __call__(self, step: int) -> float:
        """Return the learning rate of a step, counted from 0."""
        if step < self.warmup_steps:
            share = step / self.warmup_steps
            return self.warmup_lr + share * (self.base_lr - self.warmup_lr)
        return self.after_warmup(step)

    @abc.abstractmethod
    def after_warmup(self, step: int) -> float:
        """Return the learning rate of a step after the warm-up."""

    def progress(self, step: int) -> float:
        """Return the progress: 0 at the first step after the warm-up, 1 at ``total_steps - 1``."""
        decay_steps = max(1, self.total_steps - 1 - self.warmup_steps)
        return min(1.0, (step - self.warmup_steps) / decay_steps)


@dataclass(frozen=True)
class WarmupCosine(Schedule):
    """Half a cosine, to `min_lr` at the last step (Loshchilov & Hutter 2017)."""

    def after_warmup(self, step: int) -> float:
        falling = 0.5 * (1 + math.cos(math.pi * self.progress(step)))
        return self.min_lr + (self.base_lr - self.min_lr) * falling


@dataclass(frozen=True)
class WarmupLinear(Schedule):
    """A straight line, to `min_lr` at the last step."""

    def after_warmup(self, step: int) -> float:
        return self.base_lr + (self.min_lr - self.base_lr) * self.progress(step)


@dataclass(frozen=True)
class WarmupConstant(Schedule):
    """Constant `base_lr`; `min_lr` is not used."""

    def after_warmup(self, step: int) -> float:
        return self.base_lr


@dataclass(frozen=True)
class WarmupStep(Schedule):
    """Multiplies `base_lr` by `factor` after every `every` steps, but not below `min_lr`.

    The count of steps includes the warm-up.
    """

    every: int
    factor: float

    def after_warmup(self, step: int) -> float:
        return max(self.min_lr, self.base_lr * self.factor ** (step // self.every))


@dataclass(frozen=True)
class RampDecay(Schedule):
    """Changes once an epoch: a linear ramp up, then decay by `factor` per epoch to `min_lr`.

    The rule is from the notebook ``finetune`` of sayakpaul/cait-tf. Epoch e (from 0) in a ramp of r
    epochs has ``warmup_lr + e / r * (base_lr - warmup_lr)``. Later epochs have
    ``min_lr + (base_lr - min_lr) * factor ** (e - r)``.
    """

    every: int
    factor: float

    def __call__(self, step: int) -> float:
        return super().__call__(step // self.every * self.every)

    def after_warmup(self, step: int) -> float:
        epochs = (step - self.warmup_steps) / self.every
        return self.min_lr + (self.base_lr - self.min_lr) * self.factor**epochs


def build_schedule(
    config: ScheduleConfig,
    base_lr: float,
    warmup_steps: int,
    total_steps: int,
    steps_per_epoch: int,
) -> Schedule:
    """Return the schedule for `total_steps` steps. The warm-up takes at most half of the steps."""
    shape = (
        base_lr,
        config.warmup_lr,
        config.min_lr or 0.0,
        min(warmup_steps, total_steps // 2),
        total_steps,
    )
    match config.name:
        case "cosine":
            return WarmupCosine(*shape)
        case "linear":
            return WarmupLinear(*shape)
        case "constant":
            return WarmupConstant(*shape)
        case "step":
            every = max(1, round(given(config.step_epochs) * steps_per_epoch))
            return WarmupStep(*shape, every, given(config.factor))
        case "ramp_decay":
            return RampDecay(*shape, steps_per_epoch, given(config.factor))
    raise AssertionError(config.name)
