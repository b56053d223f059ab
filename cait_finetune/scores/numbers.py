"""Numbers in the targets' units, with intervals of split conformal prediction."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from cait_finetune.scores import conformal
from cait_finetune.scores.postprocessing import SAME, Linear, Postprocessing, texts
from cait_finetune.scores.predictions import Predictions
from cait_finetune.scores.regression import score_target

_CLOSE = 0.1  # largest difference of two numbers that agree, in standard deviations of the target


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
    agreeing = f"all numbers within {_CLOSE} standard deviations"
    legends = ("target_names",)

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

    def indices(self, outputs: tf.Tensor) -> dict[str, tf.Tensor]:
        """As `Postprocessing.indices`: none."""
        return {}

    def expected(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """As `Postprocessing.expected`: the numbers, and the ends of their intervals if fitted."""
        found = {"prediction": values}
        if self.half_widths is not None:
            widths = np.array(self.half_widths)
            found |= {"lower": values - widths, "upper": values + widths}
        return found

    def chosen(self, outputs: Mapping[str, np.ndarray], names: Sequence[str]) -> None:
        """As `Postprocessing.chosen`: `None`, after a check of the targets' names."""
        if "target_names" in outputs and (stated := texts(outputs["target_names"])) != list(names):
            raise ValueError(
                f"names its targets {', '.join(stated[:5])}, expected {', '.join(names[:5])}"
            )

    def quality(self, values: np.ndarray, truth: np.ndarray) -> tuple[str, float]:
        """As `Postprocessing.quality`: R², the mean over the targets."""
        pairs = zip(values.T, truth.T, strict=True)
        return "r2", float(np.mean([score_target(ours, theirs).r2 for ours, theirs in pairs]))

    def agree(self, values: np.ndarray, others: np.ndarray, unit: np.ndarray) -> np.ndarray:
        """As `Postprocessing.agree`."""
        return (np.abs(values - others) <= _CLOSE * unit).all(axis=-1)

    def keras_model(self) -> tuple[str, dict[str, Any]]:
        """As `Postprocessing.keras_model`."""
        alpha = None if self.half_widths is None else self.alpha
        return "ImageRegressor", {"alpha": alpha, "half_widths": self.half_widths}

    def linear(self) -> Linear:
        """As `Postprocessing.linear`: the layer's outputs are the numbers."""
        return Linear(1.0, self, self.facts())

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
            isinstance(one, int | float) and 0 <= one < np.inf for one in widths
        )
        if not good:
            raise ValueError("half_widths, a finite number of at least 0 for each target")
        return Numbers(float(alpha), tuple(map(float, widths)))

    def fits(self, other: Numbers) -> bool:
        """As `Postprocessing.fits`."""
        if self.alpha != other.alpha:
            return False
        ours, theirs = self.half_widths or (), other.half_widths or ()
        return len(ours) == len(theirs) and np.allclose(ours, theirs, rtol=SAME, atol=0)

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
