"""From a model's outputs to the answers in its files, with all that was fitted on validation images."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import tensorflow as tf

from cait_finetune.scores import calibration, conformal
from cait_finetune.scores.activation import SOFTMAX, Activation
from cait_finetune.scores.predictions import Predictions

#: Relative tolerance between two fits of a temperature: processors round differently.
_SAME = 1e-3


class Postprocessing(abc.ABC):
    """What a model's outputs ``(B, C)`` become in evaluation, in exported files and in ``predict``.

    A task states the kind. `fitted` returns one that is fitted to a run's validation images.

    Attributes:
        same: what the check of an exported file found to be the same on every image. Empty: nothing.
        unit: of what the largest difference of a file is stated, and in which unit.
        agreeing: when a quantised file agrees with the file itself on an image.
    """

    same: ClassVar[str]
    unit: ClassVar[str]
    agreeing: ClassVar[str]

    def named(self, names: Sequence[str]) -> Self:
        """Return this postprocessing for columns with these names. Most do not depend on them."""
        return self

    @property
    def choices(self) -> Sequence[slice]:
        """The columns of each answer that is one class. Empty: the answers are numbers."""
        return (slice(None),)

    def of_labels(self, predictions: Predictions) -> list[OfLabel]:
        """Return the predictions of each label that an image has. Most tasks have one label."""
        return [OfLabel("", predictions, self, predictions.class_names)]

    @abc.abstractmethod
    def tensor(self, outputs: tf.Tensor) -> tf.Tensor:
        """Return the values ``(B, C)`` of outputs ``(B, C)``, in their precision."""

    @abc.abstractmethod
    def answers(self, outputs: tf.Tensor, names: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return what an exported file answers.

        Args:
            outputs: ``(B, C)``.
            names: names of the columns, ``(C,)`` string.
        """

    @abc.abstractmethod
    def row_answers(self, outputs: tf.Tensor, names: tf.Tensor) -> dict[str, tf.Tensor]:
        """Return `answers` with the batch as the first axis of every output."""

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
        """Return this postprocessing with the values in `facts`. Those of earlier versions may lack some.

        Raises:
            ValueError: a value is impossible. The text says what is expected.
        """

    @abc.abstractmethod
    def fits(self, other: Self) -> bool:
        """Return whether two fits to the same images agree, but for rounding."""

    @abc.abstractmethod
    def described(self) -> str:
        """Return the values in `facts` as a message shows them: ``temperature 1.234``."""

    @abc.abstractmethod
    def measures(self, predictions: Predictions) -> dict[str, float]:
        """Return figures of a split, before and after the fit."""

    @abc.abstractmethod
    def summary(self, measures: Mapping[str, float]) -> str:
        """Return the console's words on the test split's `measures`."""

    @abc.abstractmethod
    def limits(self) -> str:
        """Return the model card's sentences on the fit."""


@dataclasses.dataclass(frozen=True)
class OfLabel:
    """What a model says of one label.

    Attributes:
        label: the label's name. Empty: images have one label, or the task knows none.
        predictions: the images that have the label.
        postprocessing: that of the label's columns.
        classes: names of the columns without the label.
    """

    label: str
    predictions: Predictions
    postprocessing: Any
    classes: Sequence[str]

    def titled(self, text: str) -> str:
        """Return `text` after the label's name, if it has one."""
        return f"{self.label}: {text}" if self.label else text


@dataclasses.dataclass(frozen=True)
class Probabilities(Postprocessing):
    """The probabilities of classes: `activation` of the logits, divided by a temperature.

    Attributes:
        temperature: the divisor of the logits. 1: none was fitted.
    """

    activation: Activation
    temperature: float = 1.0

    same = "same top-1"
    unit = "of a probability"
    agreeing = "the same class"

    def tensor(self, outputs: tf.Tensor) -> tf.Tensor:
        """As `Postprocessing.tensor`: calibrated probabilities."""
        return self.activation.tensor(outputs / self.temperature)

    def answers(self, outputs: tf.Tensor, names: tf.Tensor) -> dict[str, tf.Tensor]:
        """As `Postprocessing.answers`: the most probable class, its probability, and all of them."""
        probabilities = self.tensor(outputs)  # (B, C)
        return {
            "predicted_class": tf.gather(names, _most_probable(outputs)),
            "probability": tf.reduce_max(probabilities, axis=-1),
            "probabilities": probabilities,
            "class_names": tf.identity(names),
        }

    def row_answers(self, outputs: tf.Tensor, names: tf.Tensor) -> dict[str, tf.Tensor]:
        """As `Postprocessing.row_answers`, with the column of the most probable class."""
        rows = tf.tile(names[tf.newaxis], (tf.shape(outputs)[0], 1))  # (B, C)
        index = _most_probable(outputs)
        return {**self.answers(outputs, names), "class_names": rows, "predicted_index": index}

    def values(self, outputs: np.ndarray) -> np.ndarray:
        """As `Postprocessing.values`: calibrated probabilities."""
        return self.activation.probabilities(outputs, self.temperature)

    def fitted(self, validation: Predictions) -> Probabilities | None:
        """As `Postprocessing.fitted`: with the temperature of `calibration.fit_temperature`."""
        if len(validation.labels) < calibration.LEAST:
            return None
        temperature = calibration.fit_temperature(
            self.activation, validation.logits, validation.labels
        )
        return Probabilities(self.activation, temperature)

    def facts(self) -> dict[str, Any]:
        """As `Postprocessing.facts`."""
        return {"temperature": self.temperature}

    def stated(self, facts: Mapping[str, Any]) -> Probabilities:
        """As `Postprocessing.stated`. Without a temperature it is 1."""
        temperature = facts.get("temperature", 1.0)
        if not isinstance(temperature, int | float) or temperature <= 0:
            raise ValueError("a number above 0")
        return Probabilities(self.activation, float(temperature))

    def fits(self, other: Probabilities) -> bool:
        """As `Postprocessing.fits`."""
        return abs(self.temperature - other.temperature) <= _SAME * other.temperature

    def described(self) -> str:
        """As `Postprocessing.described`."""
        return f"temperature {self.temperature:.4g}"

    def reliability(self, predictions: Predictions, calibrated: bool) -> calibration.Reliability:
        """Return the answers in bins by confidence, with or without the temperature."""
        temperature = self.temperature if calibrated else 1.0
        return calibration.reliability(
            *self.activation.answers(predictions.logits, predictions.labels, temperature)
        )

    def measures(self, predictions: Predictions) -> dict[str, float]:
        """As `Postprocessing.measures`: expected calibration error, and the loss after the fit."""
        return {
            "ece": self.reliability(predictions, False).error,
            "ece_calibrated": self.reliability(predictions, True).error,
            "loss_calibrated": calibration.negative_log_likelihood(
                self.activation, predictions.logits, predictions.labels, self.temperature
            ),
        }

    def summary(self, measures: Mapping[str, float]) -> str:
        """As `Postprocessing.summary`."""
        return (
            f"ECE {measures['ece']:.2%}; {measures['ece_calibrated']:.2%} with the temperature "
            f"{self.temperature:.2f}"
        )

    def limits(self) -> str:
        """As `Postprocessing.limits`."""
        if self.temperature == 1.0:
            return "Probabilities are not calibrated: no temperature was fitted, or the fitted one is 1."
        return (
            f"Probabilities are calibrated by a temperature of {self.temperature:.3f}, fitted on the "
            "validation split. They are less reliable for images that differ from the validation images."
        )


@dataclasses.dataclass(frozen=True)
class Numbers(Postprocessing):
    """Numbers in the targets' units, with an interval of split conformal prediction (`conformal`).

    Attributes:
        alpha: the expected share of images outside the interval.
        half_widths: half the width of each target's interval, in the target's unit. `None`: none
            was fitted.
    """

    alpha: float
    half_widths: tuple[float, ...] | None = None

    choices = ()
    same = ""
    unit = "of a number, in standard deviations of the target"
    agreeing = "all numbers within 0.1 standard deviations"

    def tensor(self, outputs: tf.Tensor) -> tf.Tensor:
        """As `Postprocessing.tensor`: the outputs as they are."""
        return outputs

    def answers(self, outputs: tf.Tensor, names: tf.Tensor) -> dict[str, tf.Tensor]:
        """As `Postprocessing.answers`: the numbers, and the ends of their intervals if fitted."""
        found = {"prediction": tf.identity(outputs)}
        if self.half_widths is not None:
            widths = tf.constant(self.half_widths, outputs.dtype)  # (T,)
            found |= {"lower": outputs - widths, "upper": outputs + widths}
        return {**found, "target_names": tf.identity(names)}

    def row_answers(self, outputs: tf.Tensor, names: tf.Tensor) -> dict[str, tf.Tensor]:
        """As `Postprocessing.row_answers`."""
        rows = tf.tile(names[tf.newaxis], (tf.shape(outputs)[0], 1))  # (B, T)
        return {**self.answers(outputs, names), "target_names": rows}

    def ends(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """Return ``prediction``, and ``lower`` and ``upper`` if fitted, ``(N, T)`` each."""
        found = {"prediction": numbers}
        if self.half_widths is not None:
            widths = np.array(self.half_widths)
            found |= {"lower": numbers - widths, "upper": numbers + widths}
        return found

    def values(self, outputs: np.ndarray) -> np.ndarray:
        """As `Postprocessing.values`: the outputs as they are."""
        return np.asarray(outputs, "float64")

    def fitted(self, validation: Predictions) -> Numbers | None:
        """As `Postprocessing.fitted`: with the half widths of `conformal.half_widths`."""
        widths = conformal.half_widths(validation.logits, validation.labels, self.alpha)
        if not np.isfinite(widths).all():
            return None
        return Numbers(self.alpha, tuple(widths.tolist()))

    def facts(self) -> dict[str, Any]:
        """As `Postprocessing.facts`."""
        widths = None if self.half_widths is None else list(self.half_widths)
        return {"alpha": self.alpha, "half_widths": widths}

    def stated(self, facts: Mapping[str, Any]) -> Numbers:
        """As `Postprocessing.stated`."""
        alpha, widths = facts.get("alpha", self.alpha), facts.get("half_widths")
        if not isinstance(alpha, int | float) or not 0 < alpha < 1:
            raise ValueError("alpha between 0 and 1")
        if widths is None:
            return Numbers(float(alpha))
        good = isinstance(widths, list) and all(
            isinstance(one, int | float) and one >= 0 for one in widths
        )
        if not good:
            raise ValueError("half_widths, a number of at least 0 for each target")
        return Numbers(float(alpha), tuple(map(float, widths)))

    def fits(self, other: Numbers) -> bool:
        """As `Postprocessing.fits`."""
        if self.alpha != other.alpha:
            return False
        ours, theirs = self.half_widths or (), other.half_widths or ()
        return len(ours) == len(theirs) and np.allclose(ours, theirs, rtol=_SAME, atol=0)

    def described(self) -> str:
        """As `Postprocessing.described`."""
        widths = [f"{one:.4g}" for one in self.half_widths or ()]
        return f"alpha {self.alpha:g}, half_widths [{', '.join(widths)}]"

    def measures(self, predictions: Predictions) -> dict[str, float]:
        """As `Postprocessing.measures`: the share of true numbers inside the intervals."""
        if self.half_widths is None or not len(predictions.labels):
            return {}
        inside = conformal.coverage(
            predictions.logits, predictions.labels, np.array(self.half_widths)
        )
        return {"coverage": float(inside.mean())}

    def summary(self, measures: Mapping[str, float]) -> str:
        """As `Postprocessing.summary`."""
        if self.half_widths is None:
            return (
                f"no intervals: they need {conformal.fewest(self.alpha)} validation images and finite "
                "predictions"
            )
        widths = ", ".join(f"±{one:.4g}" for one in self.half_widths)
        return f"{100 * (1 - self.alpha):g} % interval {widths}, with {measures['coverage']:.1%} inside"

    def limits(self) -> str:
        """As `Postprocessing.limits`."""
        if self.half_widths is None:
            return "The numbers have no intervals: the validation split was too small for them."
        return (
            f"The intervals are those of split conformal prediction on the validation split: "
            f"{100 * (1 - self.alpha):g} % of the numbers of similar images lie inside. For images that differ "
            "from the validation images, fewer do."
        )


def _most_probable(logits: tf.Tensor) -> tf.Tensor:
    # Use the logits: several sigmoids may round to 1.
    return tf.argmax(logits, axis=-1, output_type=tf.int32)  # (B,)


#: Softmax without a temperature.
PLAIN_SOFTMAX = Probabilities(SOFTMAX)
