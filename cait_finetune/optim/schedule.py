"""The learning rate as a function of the step."""

from __future__ import annotations

import abc
import math
from dataclasses import dataclass

from cait_finetune.config import OptimizerConfig, ScheduleConfig


@dataclass(frozen=True)
class Schedule(abc.ABC):
    """Linear from `warmup_lr` to `base_lr` in `warmup_steps`; what follows, a subclass says.

    All rates are absolute; of a row of the parameter table they are multiplied by its multiplier.
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
        return self.after_warmup(step)

    @abc.abstractmethod
    def after_warmup(self, step: int) -> float:
        """The learning rate of a step that is not in the warm-up."""

    def progress(self, step: int) -> float:
        """0 at the first step after the warm-up, 1 at the last, ``total_steps - 1``."""
        decay_steps = max(1, self.total_steps - 1 - self.warmup_steps)
        return min(1.0, (step - self.warmup_steps) / decay_steps)


@dataclass(frozen=True)
class WarmupCosine(Schedule):
    """Half a cosine to `min_lr`, which the last step gets (Loshchilov & Hutter 2017)."""

    def after_warmup(self, step: int) -> float:
        falling = 0.5 * (1 + math.cos(math.pi * self.progress(step)))
        return self.min_lr + (self.base_lr - self.min_lr) * falling


@dataclass(frozen=True)
class WarmupLinear(Schedule):
    """A straight line to `min_lr`, which the last step gets."""

    def after_warmup(self, step: int) -> float:
        return self.base_lr + (self.min_lr - self.base_lr) * self.progress(step)


@dataclass(frozen=True)
class WarmupConstant(Schedule):
    """`base_lr` to the end; `min_lr` is not used."""

    def after_warmup(self, step: int) -> float:
        return self.base_lr


@dataclass(frozen=True)
class WarmupStep(Schedule):
    """`base_lr` times `factor` after every `every` steps of the run, but never below `min_lr`."""

    every: int
    factor: float

    def after_warmup(self, step: int) -> float:
        return max(self.min_lr, self.base_lr * self.factor ** (step // self.every))


@dataclass(frozen=True)
class RampDecay(Schedule):
    """Changes once an epoch: a ramp up, then `factor` an epoch towards `min_lr`.

    The rule of the notebook ``finetune`` of sayakpaul/cait-tf: in epoch e (from 0) of a ramp of r
    epochs ``warmup_lr + e / r * (base_lr - warmup_lr)``, then
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
    """The schedule of so many steps. One shorter than twice its warm-up warms up for its first half."""
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
            every = max(1, round(config.step_epochs * steps_per_epoch))
            return WarmupStep(*shape, every, config.factor)
        case "ramp_decay":
            return RampDecay(*shape, steps_per_epoch, config.factor)
    raise AssertionError(config.name)


def peak_learning_rate(config: OptimizerConfig, batch_size: int) -> float:
    """The highest learning rate. `warmup_lr` and `min_lr` are not scaled as it is."""
    return config.peak(batch_size)
