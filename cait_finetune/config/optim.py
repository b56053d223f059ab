"""Keys of the optimizer and of the learning-rate schedule."""

from __future__ import annotations

from dataclasses import dataclass

from cait_finetune.config.checks import one_length, within
from cait_finetune.config.keys import check_keys, key


@dataclass
class OptimizerConfig:
    """The optimizer, with layer-wise learning-rate decay."""

    name: str = key("The update rule. `optimizer=NAME` sets it and its defaults.",
                    choices=("adamw", "sgd", "lamb", "lion", "schedule_free"))  # fmt: skip
    base_lr: float = key("Peak learning rate of the head.", low=0, high=10)
    weight_decay: float = key("Decoupled weight decay. Biases and norms have none.", low=0, high=1)
    layer_decay: float = key(
        "Learning rate of each layer divided by the rate of the layer after it. 1: equal rates.",
        low=0.01, high=1,
    )  # fmt: skip
    lr_batch_size: int | None = key(
        "Batch size to which `base_lr` applies; the rate scales linearly with `train.batch_size`. "
        "null: no scaling.", None, low=1,
    )  # fmt: skip
    beta_1: float | None = key("Decay of the mean of the gradients.", None,
                               low=0, high=1, open_high=True)  # fmt: skip
    beta_2: float | None = key("Decay of the mean of the squared gradients; with lion, of the momentum.",
                               None, low=0, high=1, open_high=True)  # fmt: skip
    epsilon: float | None = key(
        "Number added to the root of the mean squared gradient.", None, low=1e-16, high=1
    )
    momentum: float | None = key("Decay of the momentum.", None, low=0, high=1, open_high=True)
    nesterov: bool | None = key("Use Nesterov momentum.", None)

    def __post_init__(self) -> None:
        check_keys(self, "optimizer")
        if self.name == "schedule_free":  # it divides by beta_1
            within("optimizer.beta_1", self.beta_1, 0.01, 1, open_high=True)

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

    One of three keys sets the length of the warm-up. The other two are null.
    """

    name: str = key("Shape of the learning-rate schedule after the warm-up.",
                    choices=("cosine", "linear", "step", "constant", "ramp_decay"))  # fmt: skip
    warmup_epochs: float | None = key(
        "Length of the warm-up in epochs, at most half of training. 0: none.", None, low=0
    )
    warmup_steps: int | None = key("Length of the warm-up in steps.", None, low=0)
    warmup_examples: int | None = key("Length of the warm-up in images.", None, low=0)
    warmup_lr: float = key("Learning rate of the head at the first step.", low=0, high=10)
    min_lr: float | None = key("Learning rate of the head at the last step.", None, low=0, high=10)
    step_epochs: float | None = key(
        "Epochs between two reductions of the learning rate.", None, low=0.001
    )
    factor: float | None = key(
        "Factor by which a reduction multiplies the learning rate.", None, low=0, high=1
    )

    def __post_init__(self) -> None:
        check_keys(self, "schedule")
        one_length("schedule.warmup", vars(self), "warmup_")
