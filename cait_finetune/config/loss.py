"""What training minimises."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from cait_finetune.config.checks import one_of, within


@dataclass
class LossConfig:
    """The training loss; what is evaluated is always the plain one.

    ``auto`` is cross-entropy, or where images have several labels, binary cross-entropy.
    `class_weights` ``balanced`` weighs each class by one over its share of the training images,
    ``effective`` by one over its effective number of them (Cui et al. 2019) with `effective_beta`.
    `logit_adjustment` is tau of Menon et al. 2021, 0 for none and 1 for their own: what is learned is
    then right for classes that are equally frequent. `gamma_negative`, `gamma_positive` and `clip`
    are of the asymmetric loss (Ridnik et al. 2021), and null with another one.
    """

    name: str = MISSING
    class_weights: str = "none"
    effective_beta: float = 0.999
    logit_adjustment: float = 0.0
    gamma_negative: float | None = None
    gamma_positive: float | None = None
    clip: float | None = None

    def __post_init__(self) -> None:
        one_of("loss.name", self.name, ("auto", "cross_entropy", "bce", "asymmetric"))
        one_of("loss.class_weights", self.class_weights, ("none", "balanced", "effective"))
        within("loss.effective_beta", self.effective_beta, 0, 1, open_high=True)
        within("loss.logit_adjustment", self.logit_adjustment, 0, 10)
        within("loss.gamma_negative", self.gamma_negative, 0, 20)
        within("loss.gamma_positive", self.gamma_positive, 0, 20)
        within("loss.clip", self.clip, 0, 1, open_high=True)
