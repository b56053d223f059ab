"""The training loss and the correctness of each example."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np
import tensorflow as tf

from cait_finetune.config import LossConfig


class Loss(Protocol):
    """``loss(labels, logits)`` returns the loss of each example, ``(B,)``, from logits ``(B, C)``.

    Labels are class indices ``(B,)``, or float32 ``(B, C)``. With one class per image or per label, the
    columns hold class probabilities times the example's weight. With any number of classes per image,
    the columns hold zeros and ones, or values between 0 and 1 after mixup or CutMix. Numbers are
    ``(B, T)``, or ``(B, T + 1)`` with the example's weight in the last column.
    """

    def __call__(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor: ...

    def correct(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Return the correctness of each example, from 0 to 1, ``(B,)`` float32.

        With numbers, return the absolute error instead.
        """
        ...


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor, smoothing: float = 0.0) -> tf.Tensor:
    """Return the cross-entropy of each example, ``(B,)``, from logits ``(B, C)``.

    Labels are class indices ``(B,)`` or class probabilities ``(B, C)``. Label smoothing s replaces
    a probability t by ``(1 - s) t + s/C`` (Szegedy et al. 2016).
    """
    classes = logits.shape[-1]
    shares = _shares(labels, classes)
    targets = shares * (1.0 - smoothing) + smoothing / classes
    return tf.nn.softmax_cross_entropy_with_logits(targets, logits)


@dataclasses.dataclass(frozen=True)
class CrossEntropy:
    """`cross_entropy` with weights, and with `shift` added to the logits (logit adjustment).

    Attributes:
        weighted: whether labels are class probabilities times the example's weight.
    """

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
        """Return whether the class with the highest logit is the class with the highest label."""
        return top1(labels, logits)


@dataclasses.dataclass(frozen=True)
class BinaryCrossEntropy:
    """Binary cross-entropy of each class, averaged over the classes, for images with one class.

    `class_weights` weight the examples. `shift` is added to the logits (logit adjustment). Label
    smoothing s replaces a target t by ``(1 - s) t + s/C``. Source: DeiT III (Touvron et al. 2022).
    """

    smoothing: float = 0.0
    class_weights: np.ndarray | None = None  # (C,)
    shift: np.ndarray | None = None  # (C,)

    def __call__(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        classes = logits.shape[-1]
        if self.shift is not None:
            logits += tf.constant(self.shift, tf.float32)
        targets, weight = _weighed(_shares(labels, classes), self.class_weights)
        targets = targets * (1.0 - self.smoothing) + self.smoothing / classes
        losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)  # (B, C)
        return weight * tf.reduce_mean(losses, axis=-1)

    def correct(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Return whether the class with the highest logit is the class with the highest label."""
        return top1(labels, logits)


@dataclasses.dataclass(frozen=True)
class LabelCrossEntropy:
    """Binary cross-entropy of each class, averaged over the classes, for images with any number of classes.

    Labels are ``(B, C)``. `positive_weights` weight the positive term of each class. Label smoothing
    s replaces a target t by ``(1 - s) t + s/2``.
    """

    smoothing: float = 0.0
    positive_weights: np.ndarray | None = None  # (C,)

    def __call__(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        targets = labels * (1.0 - self.smoothing) + self.smoothing / 2
        if self.positive_weights is None:
            losses = tf.nn.sigmoid_cross_entropy_with_logits(targets, logits)  # (B, C)
        else:
            yes = tf.constant(self.positive_weights, tf.float32)  # (C,)
            losses = tf.nn.weighted_cross_entropy_with_logits(targets, logits, yes)
        return tf.reduce_mean(losses, axis=-1)

    def correct(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Return the fraction of classes that are predicted right."""
        return _right_answers(labels, logits)


@dataclasses.dataclass(frozen=True)
class AsymmetricLoss:
    """Binary cross-entropy that weights easy negatives less, summed over the classes.

    Ridnik et al. 2021, https://arxiv.org/abs/2009.14119: with the probability p and
    ``q = max(p - clip, 0)``, the loss of a positive is ``-(1 - p)^gamma_positive log p``, and the
    loss of a negative is ``-q^gamma_negative log(1 - q)``. A negative with p below `clip` has no
    loss.
    """

    gamma_negative: float = 4.0
    gamma_positive: float = 0.0
    clip: float = 0.05
    positive_weights: np.ndarray | None = None  # (C,)

    def __call__(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        # 1 - p would round to 0 for a logit above 17, and a confident mistake would have no gradient.
        p, rest = tf.sigmoid(logits), tf.sigmoid(-logits)  # (B, C), the two sum to 1
        yes = -tf.math.log_sigmoid(logits)
        if self.gamma_positive:
            yes *= _power(rest, self.gamma_positive)
        if self.positive_weights is not None:
            yes *= tf.constant(self.positive_weights, tf.float32)
        if self.clip:
            no = -tf.math.log(tf.minimum(rest + self.clip, 1.0))
        else:
            no = -tf.math.log_sigmoid(-logits)
        if self.gamma_negative:
            no *= _power(p - self.clip, self.gamma_negative)
        return tf.reduce_sum(labels * yes + (1.0 - labels) * no, axis=-1)

    def correct(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Return the fraction of classes that are predicted right."""
        return _right_answers(labels, logits)


@dataclasses.dataclass(frozen=True)
class NumberLoss:
    """The error of numbers in standard deviations of each target, averaged over the targets.

    ``mse`` squares the error, ``l1`` takes its absolute value, and ``huber`` is half the square up to
    an error of 1 and linear above (Huber 1964).

    Attributes:
        name: ``mse``, ``huber`` or ``l1``.
        std: standard deviation of each target in the training split, ``(T,)``.
    """

    name: str
    std: np.ndarray

    def __call__(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        numbers, weight = self._parted(labels)
        errors = tf.abs(logits - numbers) / tf.constant(self.std, tf.float32)  # (B, T)
        if self.name == "mse":
            losses = tf.square(errors)
        elif self.name == "huber":
            losses = tf.where(errors <= 1.0, 0.5 * tf.square(errors), errors - 0.5)
        else:
            losses = errors
        return weight * tf.reduce_mean(losses, axis=-1)

    def correct(self, labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        """Return the absolute error in the targets' units, averaged over the targets."""
        return tf.reduce_mean(tf.abs(logits - self._parted(labels)[0]), axis=-1)

    def _parted(self, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor | float]:
        """Return the numbers ``(B, T)`` and the weights ``(B,)``; 1 without weights."""
        targets = len(self.std)
        weighted = labels.shape[-1] > targets
        return labels[:, :targets], labels[:, targets] if weighted else 1.0


def number_loss(config: LossConfig, labels: np.ndarray) -> NumberLoss:
    """Return the configured loss for numbers.

    Args:
        labels: the numbers of the training split, ``(N, T)``.
    """
    std = np.asarray(labels, "float64").std(axis=0).astype("float32")
    return NumberLoss("mse" if config.name == "auto" else config.name, std)


def class_loss(
    config: LossConfig,
    smoothing: float,
    weighted: bool = False,
    counts: np.ndarray | None = None,
    examples: int = 0,
) -> Loss:
    """Return the configured loss for images with one class.

    Args:
        smoothing: label smoothing.
        weighted: whether labels are class probabilities times the example's weight.
        counts: training images of each class, ``(C,)``. `None` if `needs_counts` returns false.
        examples: number of training images.
    """
    weights, shift = class_weights(config, counts), None
    if config.logit_adjustment:
        # Count a class without an image as one image, because the logarithm of 0 is infinite.
        prior = np.maximum(counts, 1) / examples
        odds = np.log(prior)
        shift = config.logit_adjustment * odds
    if config.name == "bce":
        return BinaryCrossEntropy(smoothing, weights, shift)
    if config.name in ("auto", "cross_entropy"):
        return CrossEntropy(smoothing, weights, shift, weighted)
    raise AssertionError(config.name)


def label_loss(
    config: LossConfig, smoothing: float, counts: np.ndarray | None = None, examples: int = 0
) -> Loss:
    """Return the configured loss for images with any number of classes.

    Args:
        smoothing: label smoothing. The asymmetric loss does not use it.
        counts: training images of each class, ``(C,)``. `None` if `needs_counts` returns false.
        examples: number of training images.
    """
    weights = positive_weights(config, counts, examples)
    if config.name == "asymmetric":
        return AsymmetricLoss(config.gamma_negative, config.gamma_positive, config.clip, weights)
    if config.name in ("auto", "bce"):
        return LabelCrossEntropy(smoothing, weights)
    raise AssertionError(config.name)


def needs_counts(config: LossConfig) -> bool:
    """Return whether the loss needs the number of images of each class."""
    return config.class_weights != "none" or config.logit_adjustment > 0


def class_weights(config: LossConfig, counts: np.ndarray | None) -> np.ndarray | None:
    """Return the weight of each class, ``(C,)``, or `None` if the configuration weights no class.

    The weights have the mean 1 over all training labels. A class without an image has weight 1.
    """
    if config.class_weights == "none":
        return None
    weights = _inverse_numbers(config, counts)
    weights = weights * counts.sum() / (weights * counts).sum()
    return np.where(counts > 0, weights, 1.0)


def positive_weights(
    config: LossConfig, counts: np.ndarray | None, examples: int
) -> np.ndarray | None:
    """Return the weight of each class's positive term, ``(C,)``, or `None` as `class_weights`.

    ``balanced``: the weight that gives a class's positives the same total weight as its negatives.
    ``effective``: the weight of `class_weights`.
    """
    if config.class_weights != "balanced":
        return class_weights(config, counts)
    return np.where(counts > 0, (examples - counts) / np.maximum(counts, 1), 1.0)


def _inverse_numbers(config: LossConfig, counts: np.ndarray) -> np.ndarray:
    """Return the inverse of each class's number of images, or of its effective number, ``(C,)``."""
    present = np.maximum(counts, 1)
    if config.class_weights == "effective":
        beta = config.effective_beta
        return (1.0 - beta) / np.maximum(1.0 - beta**present, 1e-12)
    return 1.0 / present


def _shares(labels: tf.Tensor, classes: int) -> tf.Tensor:
    return tf.one_hot(labels, classes) if labels.shape.rank == 1 else labels  # (B, C)


def _weighed(shares: tf.Tensor, class_weights: np.ndarray | None) -> tuple[tf.Tensor, tf.Tensor]:
    """Return class probabilities ``(B, C)`` that sum to 1, and each example's weight ``(B,)``."""
    if class_weights is not None:
        shares = shares * tf.constant(class_weights, tf.float32)
    weight = tf.reduce_sum(shares, axis=-1)
    return tf.math.divide_no_nan(shares, weight[:, None]), weight


def top1(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Return whether the class with the highest logit has the highest label, ``(B,)`` float32."""
    wanted = labels if labels.shape.rank == 1 else tf.argmax(labels, axis=-1)
    hits = tf.equal(tf.argmax(logits, axis=-1), tf.cast(wanted, tf.int64))
    return tf.cast(hits, tf.float32)


def _power(base: tf.Tensor, gamma: float) -> tf.Tensor:
    """Return ``base^gamma``, with `base` at least 1e-8: the gradient of a root is infinite at 0."""
    return tf.maximum(base, 1e-8) ** gamma


def _right_answers(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.cast((logits > 0) == (labels > 0.5), tf.float32), axis=-1)
