"""Keys of the training loss."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from cait_finetune.config.checks import one_of, within


@dataclass
class LossConfig:
    """The training loss. Evaluation always uses the plain loss.

    `name` ``auto`` is cross-entropy, or binary cross-entropy if images have several labels.
    `class_weights` ``balanced`` weights each class by the inverse of its number of training images;
    if images have several labels, it balances the positives and negatives of each class.
    ``effective`` weights by the inverse of the effective number of images (Cui et al. 2019) with
    `effective_beta`. `logit_adjustment` is tau of Menon et al. 2021: 0 disables it, and 1 is the
    paper's value. The model then learns logits for equally frequent classes. `gamma_negative`,
    `gamma_positive` and `clip` are keys of the asymmetric loss (Ridnik et al. 2021), and null with
    another loss.
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
