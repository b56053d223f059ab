"""The training loss of each example, and how right it is."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np
import tensorflow as tf

from cait_finetune.config import LossConfig


class Loss(Protocol):
    """``loss(labels, logits)`` is one number for each example, ``(B,)``, from logits ``(B, C)``.

    Labels are classes ``(B,)``, or float32 ``(B, C)``: shares of the classes that add up to the
    example's weight, or where images have several labels zeros and ones, or what is mixed of them.
    """

    def __call__(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor: ...

    def correct(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """How right each example is, from 0 to 1, ``(B,)`` float32."""
        ...


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor, smoothing: float = 0.0) -> tf.Tensor:
    """Cross-entropy of each example, ``(B,)``, from logits ``(B, C)``.

    Labels are integers ``(B,)`` or shares of the classes ``(B, C)``. With label smoothing s a share
    of t becomes ``(1 - s) t + s/C`` (Szegedy et al. 2016).
    """
    classes = logits.shape[-1]
    shares = _shares(labels, classes)
    targets = shares * (1.0 - smoothing) + smoothing / classes
    return tf.nn.softmax_cross_entropy_with_logits(targets, logits)


@dataclasses.dataclass(frozen=True)
class CrossEntropy:
    """`cross_entropy`, weighted, and with `shift` (C,) added to the logits (logit adjustment)."""

    smoothing: float = 0.0
    class_weights: np.ndarray | None = None  # (C,)
    shift: np.ndarray | None = None  # (C,)
    weighted: bool = False

    def __call__(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        if self.shift is not None:
            logits += tf.constant(self.shift, tf.float32)
        if self.class_weights is None and not self.weighted:
            return cross_entropy(labels, logits, self.smoothing)
        shares, weight = _weighed(_shares(labels, logits.shape[-1]), self.class_weights)
        return weight * cross_entropy(shares, logits, self.smoothing)

    def correct(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Whether the likeliest class is the one with the largest share."""
        return _top1(labels, logits)


@dataclasses.dataclass(frozen=True)
class BinaryCrossEntropy:
    """A yes or no for each class; the mean over classes.

    Of one class to an image, as in DeiT III (Touvron et al. 2022), `class_weights` weigh examples; of
    several they weigh each class's yes. With label smoothing s a target t becomes
    ``(1 - s) t + s/C``, where there are several ``(1 - s) t + s/2``.
    """

    smoothing: float = 0.0
    class_weights: np.ndarray | None = None  # (C,)
    shift: np.ndarray | None = None  # (C,)
    multi_label: bool = False

    def __call__(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        classes = logits.shape[-1]
        if self.shift is not None:
            logits += tf.constant(self.shift, tf.float32)
        targets, weight = _shares(labels, classes), 1.0
        if not self.multi_label:
            targets, weight = _weighed(targets, self.class_weights)
        targets = targets * (1.0 - self.smoothing)
        targets += self.smoothing / (2 if self.multi_label else classes)
        if self.multi_label and self.class_weights is not None:
            yes = tf.constant(self.class_weights, tf.float32)  # (C,)
            losses = tf.nn.weighted_cross_entropy_with_logits(targets, logits, yes)
        else:
            losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)  # (B, C)
        return weight * tf.reduce_mean(losses, axis=-1)

    def correct(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """As `CrossEntropy.correct`, or with several labels the share of right yeses and noes."""
        return _right_answers(labels, logits) if self.multi_label else _top1(labels, logits)


@dataclasses.dataclass(frozen=True)
class AsymmetricLoss:
    """Easy noes count less than hard ones, and those below `clip` nothing; the sum over classes.

    Ridnik et al. 2021, https://arxiv.org/abs/2009.14119: with p the probability and
    ``q = max(p - clip, 0)``, a yes costs ``-(1 - p)^gamma_positive log p``, a no
    ``-q^gamma_negative log(1 - q)``.
    """

    gamma_negative: float = 4.0
    gamma_positive: float = 0.0
    clip: float = 0.05
    class_weights: np.ndarray | None = None  # (C,) of each class's yes

    def __call__(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        # Not 1 - p, which is 0 for a logit above 17: a sure mistake would have no gradient.
        p, rest = tf.sigmoid(logits), tf.sigmoid(-logits)  # (B, C), they add up to 1
        yes = -tf.math.log_sigmoid(logits)
        if self.gamma_positive:
            yes *= _power(rest, self.gamma_positive)
        if self.class_weights is not None:
            yes *= tf.constant(self.class_weights, tf.float32)
        if self.clip:
            no = -tf.math.log(tf.minimum(rest + self.clip, 1.0))
        else:
            no = -tf.math.log_sigmoid(-logits)
        if self.gamma_negative:
            no *= _power(p - self.clip, self.gamma_negative)
        return tf.reduce_sum(labels * yes + (1.0 - labels) * no, axis=-1)

    def correct(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """The share of right yeses and noes."""
        return _right_answers(labels, logits)


def build_loss(
    config: LossConfig,
    smoothing: float,
    multi_label: bool = False,
    weighted: bool = False,
    counts: np.ndarray | None = None,
    examples: int = 0,
) -> Loss:
    """The configured loss.

    Args:
        weighted: whether labels are shares that add up to an example's weight.
        counts: training images of each class, ``(C,)``, where the loss asks for them.
        examples: how many training images there are.
    """
    weights = class_weights(config, counts, examples, multi_label)
    shift = None
    if config.logit_adjustment:
        # A class without an image stays where it is, rather than infinitely far away.
        prior = np.maximum(counts, 1) / examples
        odds = np.log(prior)
        shift = config.logit_adjustment * odds
    if config.name == "asymmetric":
        return AsymmetricLoss(config.gamma_negative, config.gamma_positive, config.clip, weights)
    if config.name == "bce" or (config.name == "auto" and multi_label):
        return BinaryCrossEntropy(smoothing, weights, shift, multi_label)
    if config.name in ("auto", "cross_entropy"):
        return CrossEntropy(smoothing, weights, shift, weighted)
    raise AssertionError(config.name)


def needs_counts(config: LossConfig) -> bool:
    """Whether `build_loss` has to know how many images each class has."""
    return config.class_weights != "none" or config.logit_adjustment > 0


def class_weights(
    config: LossConfig, counts: np.ndarray | None, examples: int, multi_label: bool
) -> np.ndarray | None:
    """The weight of each class, ``(C,)``; of one label each the mean over the images is 1.

    Of several labels it is that of a yes, by which yeses and noes of a class count alike. A class
    without an image has weight 1.
    """
    if config.class_weights == "none":
        return None
    present = counts > 0
    if config.class_weights == "effective":
        beta = config.effective_beta
        weights = (1.0 - beta) / np.maximum(1.0 - beta ** np.maximum(counts, 1), 1e-12)
    elif multi_label:
        return np.where(present, (examples - counts) / np.maximum(counts, 1), 1.0)
    else:
        weights = 1.0 / np.maximum(counts, 1)
    weights = weights * counts.sum() / (weights * counts).sum()
    return np.where(present, weights, 1.0)


def _shares(labels: tf.Tensor, classes: int) -> tf.Tensor:
    return tf.one_hot(labels, classes) if labels.shape.rank == 1 else labels  # (B, C)


def _weighed(shares: tf.Tensor, class_weights: np.ndarray | None) -> tuple[tf.Tensor, tf.Tensor]:
    """Shares ``(B, C)`` that add up to 1, and the weight of each example ``(B,)``."""
    if class_weights is not None:
        shares = shares * tf.constant(class_weights, tf.float32)
    weight = tf.reduce_sum(shares, axis=-1)
    return tf.math.divide_no_nan(shares, weight[:, None]), weight


def _top1(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    wanted = labels if labels.shape.rank == 1 else tf.argmax(labels, axis=-1)
    hits = tf.equal(tf.argmax(logits, axis=-1), tf.cast(wanted, tf.int64))
    return tf.cast(hits, tf.float32)


def _power(base: tf.Tensor, gamma: float) -> tf.Tensor:
    """``base^gamma``; a root's slope at 0 is infinite, so that the base stays a little above."""
    return tf.maximum(base, 1e-8) ** gamma


def _right_answers(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.cast((logits > 0) == (labels > 0.5), tf.float32), axis=-1)
