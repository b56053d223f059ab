"""The images of a split that the model gets wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from cait_finetune.scores.activation import SIGMOID, SOFTMAX
from cait_finetune.scores.predictions import Predictions


@dataclasses.dataclass(frozen=True)
class Mistake:
    """An image with its true class, the predicted class and the probability of the prediction.

    If an image can have any number of classes, ``no CLASS`` is the truth or the prediction. For a
    regression target, both are numbers as text, and the probability is `None`.
    """

    id: str
    truth: str
    prediction: str
    probability: float | None


def mistakes_of_one_class(predictions: Predictions, temperature: float) -> list[Mistake]:
    """Return the images whose most probable class is wrong, most confident first."""
    names, labels = predictions.class_names, predictions.labels
    surest, right = SOFTMAX.answers(predictions.logits, labels, temperature)
    chosen = predictions.logits.argmax(axis=-1)
    return _listed(
        predictions,
        np.flatnonzero(~right),
        surest,
        lambda row: (names[labels[row]], names[chosen[row]]),
    )


def mistakes_of_any_classes(predictions: Predictions, temperature: float) -> list[Mistake]:
    """Return the images with a wrong answer for a class, most confident first.

    An image counts once, with its most confident mistake.
    """
    names, labels = predictions.class_names, predictions.labels
    surest, has = SIGMOID.answers(predictions.logits, labels, temperature)
    wrongly = np.where(has, 1 - surest, surest).reshape(labels.shape)  # (N, C)
    chosen, surest = wrongly.argmax(axis=-1), wrongly.max(axis=-1)

    def described(row: int) -> tuple[str, str]:
        name = names[chosen[row]]
        there = labels[row, chosen[row]] > 0.5
        return (name, f"no {name}") if there else (f"no {name}", name)

    return _listed(predictions, np.flatnonzero(surest > 0.5), surest, described)


def _listed(
    predictions: Predictions,
    wrong: np.ndarray,
    surest: np.ndarray,
    described: Callable[[int], tuple[str, str]],
) -> list[Mistake]:
    """Return the mistakes on the rows `wrong`, most confident first.

    Args:
        surest: confidence of each image, ``(N,)``.
        described: returns truth and prediction of a row.
    """
    order = wrong[np.argsort(-surest[wrong], kind="stable")]
    return [
        Mistake(predictions.ids[row], *described(row), round(float(surest[row]), 6))
        for row in order
    ]
