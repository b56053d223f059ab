"""Turn a model's outputs into answers, with parameters that are fitted to validation images."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import tensorflow as tf

from cait_finetune.scores.predictions import Predictions

#: Relative tolerance between two fits to the same images: processors round differently.
SAME = 1e-3


class Postprocessing(abc.ABC):
    """Turn a model's outputs ``(B, C)`` into the answers of evaluation, exported files and ``predict``.

    `Task.postprocessing` returns an unfitted object. `fitted` returns one that is fitted to a run's
    validation images.

    Attributes:
        same: what an exported file and the model share on every image, for reports. Empty: nothing.
        unit: the quantity and the unit of the largest difference between a file and the model.
        agreeing: when a quantised file agrees with the unquantised file on an image.
        legends: outputs of a file that name its columns. They do not depend on the images.
    """

    same: ClassVar[str]
    unit: ClassVar[str]
    agreeing: ClassVar[str]
    legends: ClassVar[tuple[str, ...]] = ("class_names",)

    def named(self, names: Sequence[str]) -> Self:
        """Return this postprocessing for columns with these names. Most do not depend on them."""
        return self

    @property
    def choices(self) -> Sequence[slice]:
        """The columns of each answer that is one class. Empty: the answers are numbers."""
        return (slice(None),)

    def of_labels(self, predictions: Predictions) -> list[OfLabel]:
        """Return an `OfLabel` for each label that at least one image has. Most tasks have one label."""
        return [OfLabel("", predictions, self, predictions.class_names)]

    @abc.abstractmethod
    def tensor(self, outputs: tf.Tensor) -> tf.Tensor:
        """Return the values ``(B, C)`` of outputs ``(B, C)``, in their precision."""

    @abc.abstractmethod
    def answers(self, outputs: tf.Tensor, names: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the outputs of an exported file, by name.

        Args:
            outputs: ``(B, C)``.
            names: names of the columns, ``(C,)`` string.
        """

    @abc.abstractmethod
    def indices(self, outputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return the columns that a file without texts outputs in place of ``predicted_class``.

        Empty: the answers are numbers.
        """

    def row_answers(self, outputs: tf.Tensor, names: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return `answers` and `indices` with the batch as the first axis of every output."""
        found, rows = self.answers(outputs, names), tf.shape(outputs)[0]
        tiled = {key: tf.tile(found[key][tf.newaxis], (rows, 1)) for key in self.legends}
        return {**found, **tiled, **self.indices(outputs)}

    @abc.abstractmethod
    def expected(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Return the `answers` to `values` ``(N, C)`` that are not texts. The first entry has the values."""

    @abc.abstractmethod
    def chosen(self, outputs: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray | None:
        """Return the columns of the classes that a file's outputs predict, ``(B,)`` or ``(B, L)``.

        `None`: the answers are numbers.

        Raises:
            ValueError: the outputs state other names than `names`. The text says what they state.
        """

    @abc.abstractmethod
    def quality(self, values: np.ndarray, truth: np.ndarray) -> tuple[str, float]:
        """Return the name and the value of a metric of values ``(N, C)`` against labels."""

    @abc.abstractmethod
    def agree(self, values: np.ndarray, others: np.ndarray, unit: np.ndarray) -> np.ndarray:
        """Return for each image ``(N,)`` whether two values ``(N, C)`` agree, as `agreeing` says.

        Args:
            unit: standard deviation of each target ``(C,)``. Classes do not use it.
        """

    @abc.abstractmethod
    def keras_model(self) -> tuple[str, dict[str, Any]]:
        """Return the name of the `ImageModel` of `cait_tf` that gives these answers, and its settings."""

    @abc.abstractmethod
    def linear(self) -> Linear:
        """Return how to fold this postprocessing into a linear head.

        Raises:
            ValueError: folding is impossible. `Task.check_export` refuses the formats that need it.
        """

    @abc.abstractmethod
    def values(self, outputs: np.ndarray) -> np.ndarray:
        """Return the values ``(N, C)`` of outputs ``(N, C)``, in float64."""

    @abc.abstractmethod
    def fitted(self, validation: Predictions) -> Self | None:
        """Return this postprocessing fitted to VALIDATION images. `None`: they are too few."""

    @abc.abstractmethod
    def facts(self) -> dict[str, Any]:
        """Return what was fitted, as JSON values for ``result.json`` and ``exports.json``."""

    @abc.abstractmethod
    def stated(self, facts: Mapping[str, Any]) -> Self:
        """Return this postprocessing with the values in `facts`. Earlier versions wrote fewer values.

        Raises:
            ValueError: a value is impossible. The text says what is expected.
        """

    @abc.abstractmethod
    def fits(self, other: Self) -> bool:
        """Return whether two fits to the same images agree up to rounding."""

    @abc.abstractmethod
    def described(self) -> str:
        """Return the values in `facts` as a message shows them: ``temperature 1.234``."""

    @abc.abstractmethod
    def measures(self, predictions: Predictions) -> dict[str, float]:
        """Return metrics of a split that judge the fit."""

    @abc.abstractmethod
    def summary(self, measures: Mapping[str, float]) -> str:
        """Return the console's text about `measures` of the test split."""

    @abc.abstractmethod
    def limits(self) -> str:
        """Return the model card's sentences on the fit."""


@dataclasses.dataclass(frozen=True)
class OfLabel:
    """The predictions for one label, with the label's postprocessing.

    Attributes:
        label: the label's name. Empty: the task has one label, without a name.
        predictions: the images that have the label.
        postprocessing: the postprocessing of the label's columns.
        classes: names of the label's classes, without ``label=``.
    """

    label: str
    predictions: Predictions
    postprocessing: Any
    classes: Sequence[str]

    def titled(self, text: str) -> str:
        """Return ``LABEL: text``, or `text` if the label has no name."""
        return f"{self.label}: {text}" if self.label else text


@dataclasses.dataclass(frozen=True)
class Linear:
    """How to fold a postprocessing into a linear head, for formats without a layer for fitted values.

    Attributes:
        divisor: kernel and bias are divided by it.
        remaining: the postprocessing that the layer's outputs still need.
        facts: the fitted values and, for classes, the activation, as JSON values.
    """

    divisor: float
    remaining: Postprocessing
    facts: Mapping[str, Any]


def texts(array: np.ndarray) -> list[str]:
    """Return the texts in an output of a file, which may be bytes."""
    return [one.decode() if isinstance(one, bytes) else str(one) for one in np.ravel(array)]
