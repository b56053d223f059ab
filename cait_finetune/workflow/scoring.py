"""What the best weights score on validation and test, and the temperature for their probabilities."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras

from cait_finetune.data.corrupt import CorruptImages
from cait_finetune.data.pipeline import example_ids
from cait_finetune.data.source import Source
from cait_finetune.scores import calibration
from cait_finetune.scores.calibration import Reliability
from cait_finetune.scores.evaluation import Evaluation, MultiLabelEvaluation, build_evaluator
from cait_finetune.scores.predictions import Predictions, Predictor

#: The splits that are predicted: one to calibrate on, one to judge by.
SPLITS = ("validation", "test")


@dataclasses.dataclass(frozen=True)
class Scores:
    """Of each of `SPLITS`; all of it derives from the predictions.

    ``reliability`` has the bins of a split before (False) and after (True) the temperature.
    """

    predictions: Mapping[str, Predictions]
    evaluations: Mapping[str, Evaluation | MultiLabelEvaluation]
    temperature: float
    reliability: Mapping[tuple[str, bool], Reliability]

    @property
    def test(self) -> Evaluation | MultiLabelEvaluation:
        """The metrics of the test split."""
        return self.evaluations["test"]

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the temperature, and of each split its metrics."""
        return {"temperature": self.temperature} | {split: self._metrics(split) for split in SPLITS}

    def _metrics(self, split: str) -> dict[str, float]:
        one, evaluation = self.predictions[split], self.evaluations[split]
        return {
            "images": evaluation.examples,
            **evaluation.as_metrics(),
            "ece": self.reliability[split, False].error,
            "ece_calibrated": self.reliability[split, True].error,
            "loss_calibrated": calibration.negative_log_likelihood(
                one.logits, one.labels, self.temperature, one.multi_label
            ),
        }


def predict_splits(
    model: keras.Model,
    batches: Callable[[str], Iterable],
    source: Source,
    corrupt: CorruptImages,
) -> dict[str, Predictions]:
    """One pass over each of `SPLITS`.

    Args:
        batches: makes those of a split, ``(images, labels, real)`` in file order.

    Raises:
        UserError: a corrupt image, if the run stops at one.
    """
    predictor = Predictor(model)
    return {split: predict(predictor, split, batches(split), source, corrupt) for split in SPLITS}


def predict(
    predictor: Predictor, split: str, batches: Iterable, source: Source, corrupt: CorruptImages
) -> Predictions:
    """One pass over a split, whose `batches` are ``(images, labels, real)`` in file order.

    Raises:
        UserError: a corrupt image, if the run stops at one.
    """
    logits, labels = predictor(batches)
    ids = example_ids(source, split, len(logits), corrupt)
    return Predictions(logits, labels, ids, source.class_names)


def score(
    predictions: Mapping[str, Predictions], batch_size: int, temperature: float | None = None
) -> Scores:
    """Evaluate both splits as training does its validation, in batches of the same size.

    Args:
        temperature: of an export that is there already; else it is fitted, on the validation split
            alone.
    """
    validation = predictions["validation"]
    several = validation.multi_label
    evaluator = build_evaluator(_identity, several)
    if temperature is None:
        temperature = calibration.fit_temperature(validation.logits, validation.labels, several)
    bins = {
        (split, calibrated): calibration.reliability(
            *calibration.answers(
                predictions[split].logits,
                predictions[split].labels,
                temperature if calibrated else 1.0,
                several,
            )
        )
        for split in SPLITS
        for calibrated in (False, True)
    }
    evaluations = {split: evaluator(predictions[split].batches(batch_size)) for split in SPLITS}
    return Scores(predictions, evaluations, temperature, bins)


def _identity(logits: Any, training: bool) -> Any:
    """A model whose images are its logits."""
    return logits
