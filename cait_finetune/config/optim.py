"""Keys of the optimizer and of the learning-rate schedule."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from cait_finetune.config.checks import one_length, one_of, within


@dataclass
class OptimizerConfig:
    """The optimizer, with layer-wise learning-rate decay.

    `base_lr` is the head's peak learning rate. With `lr_batch_size`, `base_lr` holds for batches of
    that size, and is scaled linearly to `train.batch_size`. Keys that `name` does not read are null
    (`config.effect`).
    """

    name: str = MISSING
    base_lr: float = MISSING
    weight_decay: float = MISSING
    layer_decay: float = MISSING
    lr_batch_size: int | None = None
    beta_1: float | None = None
    beta_2: float | None = None
    epsilon: float | None = None
    momentum: float | None = None
    nesterov: bool | None = None

    def __post_init__(self) -> None:
        one_of("optimizer.name", self.name, ("adamw", "sgd", "lamb", "lion", "schedule_free"))
        within("optimizer.base_lr", self.base_lr, 0, 10)
        within("optimizer.weight_decay", self.weight_decay, 0, 1)
        within("optimizer.layer_decay", self.layer_decay, 0.01, 1)
        if self.lr_batch_size is not None:
            within("optimizer.lr_batch_size", self.lr_batch_size, 1)
        # Schedule-free divides by beta_1.
        least = 0.01 if self.name == "schedule_free" else 0
        within("optimizer.beta_1", self.beta_1, least, 1, open_high=True)
        within("optimizer.beta_2", self.beta_2, 0, 1, open_high=True)
        within("optimizer.epsilon", self.epsilon, 1e-16, 1)
        within("optimizer.momentum", self.momentum, 0, 1, open_high=True)

    def peak(self, batch_size: int) -> float:
        """Return `base_lr`, scaled linearly to `batch_size` if `lr_batch_size` is set.

        Goyal et al. 2017, https://arxiv.org/abs/1706.02677.
        """
        if self.lr_batch_size is None:
            return self.base_lr
        return self.base_lr * batch_size / self.lr_batch_size


@dataclass
class ScheduleConfig:
    """Linear warm-up from `warmup_lr`, then the schedule `name` down to `min_lr`.

    One of three keys sets the length of the warm-up, and the other two are null. ``step`` reads
    `step_epochs`. ``step`` and ``ramp_decay`` read `factor`. All but ``constant`` read `min_lr`.
    With other schedules these keys are null.
    """

    name: str = MISSING
    warmup_epochs: float | None = None
    warmup_steps: int | None = None
    warmup_examples: int | None = None
    warmup_lr: float = MISSING
    min_lr: float | None = None
    step_epochs: float | None = None
    factor: float | None = None

    def __post_init__(self) -> None:
        names = ("cosine", "linear", "step", "constant", "ramp_decay")
        one_of("schedule.name", self.name, names)
        for key in one_length("schedule.warmup", vars(self), "warmup_"):
            within(f"schedule.{key}", getattr(self, key), 0)
        within("schedule.warmup_lr", self.warmup_lr, 0, 10)
        within("schedule.min_lr", self.min_lr, 0, 10)
        within("schedule.step_epochs", self.step_epochs, 0.001)
        within("schedule.factor", self.factor, 0, 1)
