"""Probabilities of classes, calibrated by a temperature."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from cait_finetune.scores import calibration
from cait_finetune.scores.activation import SOFTMAX, Activation
from cait_finetune.scores.postprocessing import SAME, Linear, Postprocessing, texts
from cait_finetune.scores.predictions import Predictions


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

    def indices(self, outputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """As `Postprocessing.indices`: the column of the most probable class, ``(B,)`` int32."""
        return {"predicted_index": _most_probable(outputs)}

    def expected(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """As `Postprocessing.expected`: all probabilities, and the largest of each image."""
        return {"probabilities": values, "probability": values.max(axis=-1)}

    def chosen(self, outputs: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
        """As `Postprocessing.chosen`. Of classes with one name, such as ImageNet's two cranes, the more probable."""
        if "class_names" not in outputs:  # the format has no texts
            return outputs["predicted_index"]
        stated, known = texts(outputs["class_names"]), list(names)
        columns = []
        for name, row in zip(
            texts(outputs["predicted_class"]), outputs["probabilities"], strict=True
        ):
            places = [column for column, one in enumerate(known) if one == name]
            if stated != known or not places:
                raise ValueError(
                    f"predicts {name} and names its columns {', '.join(stated[:5])}, expected the "
                    f"classes {', '.join(known[:5])}"
                )
            columns.append(max(places, key=row.__getitem__))
        return np.array(columns)

    def quality(self, values: np.ndarray, truth: np.ndarray) -> tuple[str, float]:
        """As `Postprocessing.quality`: that of the activation."""
        return self.activation.metric, self.activation.quality(values, truth)

    def agree(self, values: np.ndarray, others: np.ndarray, unit: np.ndarray) -> np.ndarray:
        """As `Postprocessing.agree`."""
        return values.argmax(axis=-1) == others.argmax(axis=-1)

    def keras_model(self) -> tuple[str, dict[str, Any]]:
        """As `Postprocessing.keras_model`."""
        own = {"temperature": self.temperature, "activation": self.activation.name}
        return "ImageClassifier", own

    def linear(self) -> Linear:
        """As `Postprocessing.linear`: the layer's outputs are the calibrated logits."""
        facts = {**self.facts(), "activation": self.activation.name}
        return Linear(self.temperature, Probabilities(self.activation), facts)

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
        return abs(self.temperature - other.temperature) <= SAME * other.temperature

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


def _most_probable(logits: tf.Tensor) -> tf.Tensor:
    # Use the logits: several sigmoids may round to 1.
    return tf.argmax(logits, axis=-1, output_type=tf.int32)  # (B,)


#: Softmax without a temperature.
PLAIN_SOFTMAX = Probabilities(SOFTMAX)
