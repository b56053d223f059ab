"""Score predictions on validation and test, and fit the postprocessing to validation images."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras
import numpy as np

from cait_finetune.data.corrupt import CorruptImages
from cait_finetune.data.pipeline import example_ids
from cait_finetune.data.source import Source
from cait_finetune.errors import bad_value
from cait_finetune.scores.evaluation import AnyEvaluation
from cait_finetune.scores.intervals import Interval
from cait_finetune.scores.postprocessing import Postprocessing
from cait_finetune.scores.predictions import Predictions, Predictor
from cait_finetune.tasks import Task

#: The caller's metric: a function that returns a number from labels ``(N,)``, or ``(N, C)`` for
#: multi-label data, and calibrated probabilities ``(N, C)``.
Metric = Callable[[np.ndarray, np.ndarray], float]
#: The scored splits. The postprocessing is fitted on validation; test measures the result.
SPLITS = ("validation", "test")


@dataclasses.dataclass(frozen=True)
class Scores:
    """Predictions and scores of each of `SPLITS`. All scores derive from the predictions.

    Attributes:
        task: what the labels are.
        postprocessing: what the outputs become, fitted to the validation split.
        measures: the figures of `Postprocessing.measures`, by split.
        intervals: 95 % intervals of metrics, by split and key.
        further: values of the caller's metrics, by split and name.
    """

    task: Task
    predictions: Mapping[str, Predictions]
    evaluations: Mapping[str, AnyEvaluation]
    postprocessing: Postprocessing
    measures: Mapping[str, Mapping[str, float]]
    intervals: Mapping[str, Mapping[str, Interval]]
    further: Mapping[str, Mapping[str, float]] = dataclasses.field(default_factory=dict)

    @property
    def test(self) -> AnyEvaluation:
        """The metrics of the test split."""
        return self.evaluations["test"]

    def as_dict(self) -> dict[str, Any]:
        """Return JSON values: what was fitted, and the metrics of each split."""
        return self.postprocessing.facts() | {split: self._metrics(split) for split in SPLITS}

    def _metrics(self, split: str) -> dict[str, Any]:
        evaluation = self.evaluations[split]
        return {
            "images": evaluation.examples,
            **evaluation.as_metrics(),
            "intervals": self.intervals[split],
            **self.further.get(split, {}),
            **self.measures[split],
        }


def predict_splits(
    model: keras.Model,
    batches: Callable[[str], Iterable],
    source: Source,
    corrupt: CorruptImages,
) -> dict[str, Predictions]:
    """Predict each of `SPLITS` in one pass.

    Args:
        batches: returns the batches of a split, as for `predict`.

    Raises:
        UserError: an image is corrupt, and `dataset.on_corrupt` is ``stop``.
    """
    predictor = Predictor(model)
    return {split: predict(predictor, split, batches(split), source, corrupt) for split in SPLITS}


def predict(
    predictor: Predictor, split: str, batches: Iterable, source: Source, corrupt: CorruptImages
) -> Predictions:
    """Predict a split in one pass.

    Args:
        batches: ``(images, labels, real)`` in file order. `real` ``(B,)`` is false for padding.

    Raises:
        UserError: an image is corrupt, and `dataset.on_corrupt` is ``stop``.
    """
    logits, labels = predictor(batches)
    ids = example_ids(source, split, len(logits), corrupt)
    return Predictions(logits, labels, ids, source.class_names)


def score(
    task: Task,
    predictions: Mapping[str, Predictions],
    batch_size: int,
    postprocessing: Postprocessing | None = None,
) -> Scores:
    """Evaluate the predictions of both splits as training evaluates its validation split.

    Args:
        task: what the labels are.
        batch_size: images per batch, as in training's validation.
        postprocessing: the one that the run's ``result.json`` states. `None`: fit it to the validation
            split, or use the task's own if the split is too small.
    """
    if postprocessing is None:
        unfitted = task.postprocessing
        postprocessing = unfitted.fitted(predictions["validation"]) or unfitted
    class_names = predictions["test"].class_names
    postprocessing = postprocessing.named(class_names)
    evaluator = task.build_evaluator(_identity, class_names)
    measures = {split: postprocessing.measures(predictions[split]) for split in SPLITS}
    evaluations = {split: evaluator(predictions[split].batches(batch_size)) for split in SPLITS}
    intervals = {split: task.intervals(predictions[split], evaluations[split]) for split in SPLITS}
    return Scores(task, predictions, evaluations, postprocessing, measures, intervals)


def measured(scores: Scores, metrics: Mapping[str, Metric]) -> Scores:
    """Return the scores with further metrics of validation and test.

    Raises:
        UserError: a function raises an error, or its value is not a finite number.
    """
    further: dict[str, dict[str, float]] = {split: {} for split in SPLITS}
    for name, function in metrics.items():
        for split in SPLITS:
            one = scores.predictions[split]
            probabilities = scores.postprocessing.values(one.logits).astype("float32")
            try:
                value = function(one.labels, probabilities)
            except Exception as error:
                got = f"{name}, which raised {type(error).__name__}: {error}, with labels "
                got += f"{one.labels.shape} and probabilities {probabilities.shape}"
                raise bad_value("metrics", got, "a function that returns a number") from error
            number = np.isscalar(value) and not isinstance(value, str | bytes)
            if not number or not np.isfinite(value):
                raise bad_value("metrics", f"{value!r} from {name}", "a finite number")
            further[split][name] = float(value)
    return dataclasses.replace(scores, further=further)


def _identity(logits: Any, training: bool) -> Any:
    """Return the logits, which stand in for the images. `score` uses this function as a model."""
    return logits
