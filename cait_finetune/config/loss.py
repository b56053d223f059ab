"""Keys of the training loss."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cait_finetune.config.keys import check_keys, key
from cait_finetune.errors import bad_value


@dataclass
class LossConfig:
    """The training loss. Evaluation always uses the plain loss."""

    name: str = key(
        "auto: cross_entropy, or bce if an image can have any number of classes. bce: binary cross-entropy. "
        "asymmetric: asymmetric loss (Ridnik et al. 2021). mse, huber, l1: for numbers, in standard deviations "
        "of the target; auto is mse.",
        choices=("auto", "cross_entropy", "bce", "asymmetric", "mse", "huber", "l1"),
    )  # fmt: skip
    class_weights: str = key(
        "balanced: weigh each class by the inverse of its number of training images; with several labels, "
        "give its positives and negatives the same total weight. effective: weigh each class by "
        "the inverse of its effective number (Cui et al. 2019).",
        "none", choices=("none", "balanced", "effective"),
    )  # fmt: skip
    effective_beta: float = key("Beta of the effective number.", 0.999,
                                low=0, high=1, open_high=True)  # fmt: skip
    logit_adjustment: float = key(
        "Tau of logit adjustment (Menon et al. 2021), which learns logits for equally frequent classes. "
        "0: off. 1: the paper's.", 0.0,
        low=0, high=10,
    )  # fmt: skip
    gamma_negative: float | None = key("Focusing exponent of negatives.", None, low=0, high=20)
    gamma_positive: float | None = key("Focusing exponent of positives.", None, low=0, high=20)
    clip: float | None = key("Negatives with a lower probability than this have no loss.", None,
                             low=0, high=1, open_high=True)  # fmt: skip

    weights: list[float] | None = key(
        "Weights of the labels of task=several in the training loss, which is their weighted mean, in the "
        "order of `dataset.columns.labels`. null: 1 for each.", None,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_keys(self, "loss")
        if self.weights is None:
            return
        if not all(math.isfinite(one) and one >= 0 for one in self.weights) or not any(
            self.weights
        ):
            raise bad_value(
                "loss.weights", self.weights, "numbers of 0 or more, at least one of them above 0"
            )
