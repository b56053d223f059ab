"""Probabilities of several labels: a softmax and a temperature for each."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from cait_finetune.config.metrics import of_label
from cait_finetune.scores.activation import SOFTMAX
from cait_finetune.scores.postprocessing import Linear, OfLabel, Postprocessing, texts
from cait_finetune.scores.predictions import Predictions
from cait_finetune.scores.probabilities import Probabilities
from cait_tf.label_groups import LabelGroup, label_groups


@dataclasses.dataclass(frozen=True)
class SeveralProbabilities(Postprocessing):
    """The probabilities of each label's classes: softmax of its logits, divided by its temperature.

    Attributes:
        groups: the labels and their columns. Empty: not known yet (`named`).
        temperatures: the temperature of each label by its name. A label that is not there has 1.
    """

    groups: tuple[LabelGroup, ...] = ()
    temperatures: Mapping[str, float] = dataclasses.field(default_factory=dict)

    same = "same top-1 of each label"
    unit = "of a probability"
    agreeing = "the same class of each label"
    legends = ("class_names", "label_names")

    def named(self, names: Sequence[str]) -> SeveralProbabilities:
        """As `Postprocessing.named`."""
        return dataclasses.replace(self, groups=label_groups(names))

    @property
    def choices(self) -> Sequence[slice]:
        """As `Postprocessing.choices`: the columns of each label."""
        return [group.columns for group in self._known]

    def of_label(self, group: LabelGroup) -> Probabilities:
        """Return the postprocessing of one label's logits."""
        return Probabilities(SOFTMAX, self.temperatures.get(group.name, 1.0))

    def of_labels(self, predictions: Predictions) -> list[OfLabel]:
        """As `Postprocessing.of_labels`: the images that have the label, with its logits and classes.

        A label that no image has is left out.
        """
        found = []
        for group in label_groups(predictions.class_names):
            truth = predictions.labels[:, group.columns]  # (N, C of the label)
            rows = np.flatnonzero(truth.any(axis=1))
            if not len(rows):
                continue
            own = Predictions(
                predictions.logits[rows][:, group.columns],
                truth[rows].argmax(axis=1).astype(np.int32),
                [predictions.ids[row] for row in rows],
                group.column_names,
            )
            found.append(OfLabel(group.name, own, self.of_label(group), group.classes))
        return found

    def tensor(self, outputs: tf.Tensor) -> tf.Tensor:
        """As `Postprocessing.tensor`: calibrated probabilities, which add up to 1 for each label."""
        return tf.concat(self._tensors(outputs), axis=-1)

    def answers(self, outputs: tf.Tensor, names: tf.Tensor) -> dict[str, tf.Tensor]:
        """As `Postprocessing.answers`: class and probability of each label ``(B, L)``, and all of them."""
        parts = self._tensors(outputs)
        index = self.indices(outputs)["predicted_index"]  # (B, L)
        chosen = [
            tf.gather(tf.constant(group.classes), index[:, place] - group.start)
            for place, group in enumerate(self._known)
        ]
        return {
            "predicted_class": tf.stack(chosen, axis=-1),
            "probability": tf.stack([tf.reduce_max(one, axis=-1) for one in parts], axis=-1),
            "probabilities": tf.concat(parts, axis=-1),
            "class_names": tf.identity(names),
            "label_names": tf.constant([group.name for group in self._known]),
        }

    def indices(self, outputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """As `Postprocessing.indices`: the column of each label's most probable class, ``(B, L)`` int32."""
        best = [
            tf.argmax(outputs[:, group.columns], axis=-1, output_type=tf.int32) + group.start
            for group in self._known
        ]
        return {"predicted_index": tf.stack(best, axis=-1)}

    def expected(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """As `Postprocessing.expected`: all probabilities, and the largest of each label ``(N, L)``."""
        largest = [values[:, one].max(axis=-1) for one in self.choices]
        return {"probabilities": values, "probability": np.stack(largest, axis=-1)}

    def chosen(self, outputs: Mapping[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
        """As `Postprocessing.chosen`: the column of each label's class."""
        if "class_names" not in outputs:  # the format has no texts
            return outputs["predicted_index"]
        labels = [group.name for group in self._known]
        predicted = np.array(texts(outputs["predicted_class"])).reshape(-1, len(labels))
        stated = texts(outputs["class_names"])
        known = all(
            set(column) <= set(group.classes)
            for group, column in zip(self._known, predicted.T, strict=True)
        )
        if stated != list(names) or texts(outputs.get("label_names", ())) != labels or not known:
            raise ValueError(
                f"predicts {', '.join(predicted[0])} and names its columns {', '.join(stated[:5])}, "
                f"expected the classes {', '.join(names[:5])}"
            )
        columns = [
            [group.start + group.classes.index(one) for one in column]
            for group, column in zip(self._known, predicted.T.tolist(), strict=True)
        ]
        return np.array(columns).T

    def quality(self, values: np.ndarray, truth: np.ndarray) -> tuple[str, float]:
        """As `Postprocessing.quality`: the top-1, the mean over the labels that an image has."""
        of_each = []
        for columns in self.choices:
            rows = truth[:, columns].any(axis=-1)
            if rows.any():
                classes = truth[rows][:, columns].argmax(axis=-1)
                of_each.append(SOFTMAX.quality(values[rows][:, columns], classes))
        return SOFTMAX.metric, float(np.mean(of_each))

    def agree(self, values: np.ndarray, others: np.ndarray, unit: np.ndarray) -> np.ndarray:
        """As `Postprocessing.agree`."""
        same = [
            values[:, one].argmax(axis=-1) == others[:, one].argmax(axis=-1) for one in self.choices
        ]
        return np.all(same, axis=0)

    def keras_model(self) -> tuple[str, dict[str, Any]]:
        """As `Postprocessing.keras_model`."""
        return "ImageSeveralClassifier", {"temperatures": dict(self.temperatures)}

    def linear(self) -> Linear:
        """As `Postprocessing.linear`: no linear layer can.

        Raises:
            ValueError: always.
        """
        raise ValueError("each label has its own softmax, which no linear layer contains")

    def values(self, outputs: np.ndarray) -> np.ndarray:
        """As `Postprocessing.values`: calibrated probabilities."""
        parts = [self.of_label(one).values(outputs[:, one.columns]) for one in self._known]
        return np.concatenate(parts, axis=-1)

    def fitted(self, validation: Predictions) -> SeveralProbabilities | None:
        """As `Postprocessing.fitted`: a temperature for each label with enough images."""
        named = self.named(validation.class_names)
        found = {
            one.label: fitted.temperature
            for one in named.of_labels(validation)
            if (fitted := one.postprocessing.fitted(one.predictions)) is not None
        }
        return dataclasses.replace(named, temperatures=found) if found else None

    def facts(self) -> dict[str, Any]:
        """As `Postprocessing.facts`."""
        return {"temperatures": dict(self.temperatures)}

    def stated(self, facts: Mapping[str, Any]) -> SeveralProbabilities:
        """As `Postprocessing.stated`."""
        found = facts.get("temperatures", {})
        good = isinstance(found, Mapping) and all(
            isinstance(one, int | float) and one > 0 for one in found.values()
        )
        if not good:
            raise ValueError("a number above 0 for each label")
        return dataclasses.replace(self, temperatures={key: float(t) for key, t in found.items()})

    def fits(self, other: SeveralProbabilities) -> bool:
        """As `Postprocessing.fits`."""
        return self.temperatures.keys() == other.temperatures.keys() and all(
            Probabilities(SOFTMAX, one).fits(Probabilities(SOFTMAX, other.temperatures[name]))
            for name, one in self.temperatures.items()
        )

    def described(self) -> str:
        """As `Postprocessing.described`."""
        return "temperatures " + ", ".join(
            f"{name} {one:.4g}" for name, one in self.temperatures.items()
        )

    def measures(self, predictions: Predictions) -> dict[str, float]:
        """As `Postprocessing.measures`: the means over the labels, then those of each label."""
        of_each = {
            one.label: one.postprocessing.measures(one.predictions)
            for one in self.of_labels(predictions)
        }
        if not of_each:
            return {}
        keys = next(iter(of_each.values()))
        means = {key: float(np.mean([one[key] for one in of_each.values()])) for key in keys}
        return means | {
            of_label(key, label): one[key] for label, one in of_each.items() for key in keys
        }

    def summary(self, measures: Mapping[str, float]) -> str:
        """As `Postprocessing.summary`."""
        if "ece" not in measures:
            return "no image has a label"
        fitted = ", ".join(f"{name} {one:.2f}" for name, one in self.temperatures.items())
        return (
            f"ECE {measures['ece']:.2%}; {measures['ece_calibrated']:.2%} with the temperatures "
            f"{fitted or '1'}, as means over the labels"
        )

    def limits(self) -> str:
        """As `Postprocessing.limits`."""
        fitted = {name: one for name, one in self.temperatures.items() if one != 1.0}
        if not fitted:
            return Probabilities(SOFTMAX).limits()
        others = [group.name for group in self._known if group.name not in fitted]
        temperatures = ", ".join(f"{name} {one:.3f}" for name, one in fitted.items())
        whose = f" of {', '.join(fitted)}" if others else ""
        return (
            f"Probabilities{whose} are calibrated by a temperature for each label ({temperatures}), fitted "
            "on the validation split. They are less reliable for images that differ from the validation "
            "images."
        ) + (
            f" Probabilities of {', '.join(others)} are not calibrated: no temperature was fitted, or the "
            "fitted one is 1."
            if others
            else ""
        )

    @property
    def _known(self) -> tuple[LabelGroup, ...]:
        if not self.groups:
            raise ValueError("the columns have no names yet: call `named`")
        return self.groups

    def _tensors(self, outputs: tf.Tensor) -> list[tf.Tensor]:
        return [self.of_label(one).tensor(outputs[:, one.columns]) for one in self._known]
