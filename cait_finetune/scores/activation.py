"""How logits become probabilities: softmax for one class per image, sigmoid for any number."""

from __future__ import annotations

import abc
from collections.abc import Iterator
from typing import ClassVar

import numpy as np
import tensorflow as tf

_ROWS = 4096  # rows per partial sum
_ELEMENTS = 2**21  # limit on float64 values in a chunk, which bounds the memory


class Activation(abc.ABC):
    """The probabilities of logits, and whether an answer is right.

    Attributes:
        name: the name that Keras gives the activation.
        torch: PyTorch code for one image's logits, such as ``softmax(-1)``.
        metric: the metric of `quality`.
    """

    name: ClassVar[str]
    metric: ClassVar[str]
    torch: ClassVar[str]

    @abc.abstractmethod
    def tensor(self, logits: tf.Tensor) -> tf.Tensor:
        """Return the probabilities ``(B, C)`` of logits ``(B, C)``, in their precision."""

    @abc.abstractmethod
    def probabilities(self, logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
        """Return the probabilities of ``logits / temperature``, ``(N, C)`` float64."""

    @abc.abstractmethod
    def answers(
        self, logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the confidence and the correctness of each answer, both ``(M,)``."""

    @abc.abstractmethod
    def all_right(self, logits: np.ndarray, labels: np.ndarray) -> bool:
        """Return whether every answer is right."""

    @abc.abstractmethod
    def quality(self, probabilities: np.ndarray, labels: np.ndarray) -> float:
        """Return `metric` of probabilities ``(N, C)``."""

    @abc.abstractmethod
    def likelihood(
        self, logits: np.ndarray, labels: np.ndarray, inverse: float
    ) -> tuple[float, float]:
        """Return the mean negative log-likelihood of ``inverse * logits`` and its derivative by `inverse`."""


class Softmax(Activation):
    """One class per image: labels ``(N,)`` are class numbers, and each image has one answer."""

    name = "softmax"
    metric = "top1"
    torch = "softmax(-1)"

    def tensor(self, logits: tf.Tensor) -> tf.Tensor:
        """As `Activation.tensor`."""
        return tf.nn.softmax(logits)

    def probabilities(self, logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
        """As `Activation.probabilities`."""
        scaled = np.asarray(logits, "float64") / temperature
        odds = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
        return odds / odds.sum(axis=-1, keepdims=True)

    def answers(
        self, logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `Activation.answers`: the top class's probability, and whether that class is right."""
        confidence = [
            self.probabilities(logits[part], temperature).max(axis=-1) for part in _parts(logits)
        ]
        return np.concatenate(confidence), logits.argmax(axis=-1) == labels

    def all_right(self, logits: np.ndarray, labels: np.ndarray) -> bool:
        """As `Activation.all_right`."""
        return bool((logits.argmax(axis=-1) == labels).all())

    def quality(self, probabilities: np.ndarray, labels: np.ndarray) -> float:
        """As `Activation.quality`: the share of images whose most probable class is right."""
        return float((probabilities.argmax(axis=-1) == labels).mean())

    def likelihood(
        self, logits: np.ndarray, labels: np.ndarray, inverse: float
    ) -> tuple[float, float]:
        """As `Activation.likelihood`."""
        loss = slope = 0.0
        for start in range(0, len(logits), _ROWS):
            chunk, y = logits[start : start + _ROWS], labels[start : start + _ROWS]
            rows = [self._row_likelihood(chunk[part], y[part], inverse) for part in _parts(chunk)]
            losses, slopes = map(np.concatenate, zip(*rows, strict=True))
            loss += losses.sum()
            slope += slopes.sum()
        return float(loss / len(logits)), float(slope / len(logits))

    def _row_likelihood(
        self, logits: np.ndarray, labels: np.ndarray, inverse: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return each image's negative log-likelihood ``(n,)`` and its derivative by `inverse` ``(n,)``."""
        z = np.asarray(logits, "float64")  # (n, C)
        own = np.take_along_axis(z, np.asarray(labels)[:, None].astype(int), axis=-1)  # (n, 1)
        top = z.max(axis=-1, keepdims=True)
        norm = np.log(np.exp(inverse * (z - top)).sum(axis=-1)) + inverse * top[:, 0]
        mean = (self.probabilities(z, 1 / inverse) * z).sum(axis=-1)
        return norm - inverse * own[:, 0], mean - own[:, 0]


class Sigmoid(Activation):
    """Any number of classes per image: labels ``(N, C)`` are zeros and ones.

    Each class of each image has an answer.
    """

    name = "sigmoid"
    metric = "mean_average_precision"
    torch = "sigmoid()"

    def tensor(self, logits: tf.Tensor) -> tf.Tensor:
        """As `Activation.tensor`."""
        return tf.sigmoid(logits)

    def probabilities(self, logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
        """As `Activation.probabilities`."""
        return np.exp(-np.logaddexp(0.0, -(np.asarray(logits, "float64") / temperature)))

    def answers(
        self, logits: np.ndarray, labels: np.ndarray, temperature: float = 1.0
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `Activation.answers`: the class's probability, and whether the image has the class."""
        confidence = [
            self.probabilities(logits[part], temperature).ravel() for part in _parts(logits)
        ]
        return np.concatenate(confidence), labels.ravel() > 0.5

    def all_right(self, logits: np.ndarray, labels: np.ndarray) -> bool:
        """As `Activation.all_right`."""
        return bool(((logits > 0) == (labels > 0.5)).all())

    def quality(self, probabilities: np.ndarray, labels: np.ndarray) -> float:
        """As `Activation.quality`: the mean over the classes that at least one image has."""
        from sklearn.metrics import average_precision_score

        present = labels.sum(axis=0) > 0
        truth = labels[:, present].astype(int)
        return float(average_precision_score(truth, probabilities[:, present]))

    def likelihood(
        self, logits: np.ndarray, labels: np.ndarray, inverse: float
    ) -> tuple[float, float]:
        """As `Activation.likelihood`: the mean over images and classes."""
        loss = slope = 0.0
        for start in range(0, len(logits), _ROWS):
            z = np.asarray(logits[start : start + _ROWS], "float64")  # (n, C)
            y = labels[start : start + _ROWS]
            loss += (np.logaddexp(0.0, inverse * z) - inverse * z * y).sum()
            slope += ((self.probabilities(z, 1 / inverse) - y) * z).sum()
        return float(loss / logits.size), float(slope / logits.size)


SOFTMAX, SIGMOID = Softmax(), Sigmoid()


def _parts(logits: np.ndarray) -> Iterator[slice]:
    """Yield slices of the rows of ``(N, C)`` with at most `_ELEMENTS` values, or one row."""
    rows = max(1, _ELEMENTS // max(1, logits.shape[1]))
    for start in range(0, len(logits), rows):
        yield slice(start, start + rows)
