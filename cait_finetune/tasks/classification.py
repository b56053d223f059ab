"""Classification: each image has one class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cait_finetune.config import ColumnsConfig, Config
from cait_finetune.config.metrics import TOP5_FROM
from cait_finetune.errors import bad_value
from cait_finetune.tasks.task import Task

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from cait_finetune.data.source import Source
    from cait_finetune.data.targets.target import Target
    from cait_finetune.scores.evaluation import Evaluation, Evaluator
    from cait_finetune.scores.intervals import Interval
    from cait_finetune.scores.mistakes import Mistake
    from cait_finetune.scores.predictions import Predictions
    from cait_finetune.scores.probabilities import Probabilities
    from cait_finetune.train.loss import Loss


class Classification(Task):
    """Each image has one class: softmax and cross-entropy, judged by top-1."""

    name = "classification"
    metrics = ("top1", "mean_per_class")
    measured = ("loss", "top1", "top5", "mean_per_class")
    losses = ("cross_entropy", "bce")
    fewest = 2
    one_class = True
    sections = ("Classes", "Confusion", "Calibration", "Mistakes")
    confidence = ("probability of the predicted class", "share that is right")
    per_image = "one per image"
    answer = (
        "The model assigns one of the {classes:,} classes to every image, even if the image shows none "
        "of them."
    )

    def check(self, config: Config) -> None:
        """As `Task.check`. A separator of classes in a cell needs several classes per image."""
        super().check(config)
        separator, default = config.dataset.columns.separator, ColumnsConfig.separator
        if separator != default:
            raise bad_value(
                "dataset.columns.separator",
                f"{separator!r} with task={self.name}",
                f"the default, {default}: an image has one class",
                "If an image may have several, add task=multi_label.",
            )

    @property
    def target(self) -> Target:
        """As `Task.target`."""
        from cait_finetune.data.targets.one_class import ONE_CLASS

        return ONE_CLASS

    @property
    def postprocessing(self) -> Probabilities:
        """As `Task.postprocessing`."""
        from cait_finetune.scores.activation import SOFTMAX
        from cait_finetune.scores.probabilities import Probabilities

        return Probabilities(SOFTMAX)

    def also(self, class_names: Sequence[str]) -> tuple[str, ...]:
        """As `Task.also`: top-5, if there are enough classes."""
        return ("top5",) if len(class_names) >= TOP5_FROM else ()

    def build_loss(self, config: Config, source: Source) -> Loss:
        """As `Task.build_loss`."""
        from cait_finetune.train.loss import class_loss, needs_counts

        return class_loss(
            config.loss,
            config.train.label_smoothing,
            source.weighted,
            source.class_counts("train") if needs_counts(config.loss) else None,
            source.sizes["train"],
        )

    def build_evaluator(
        self,
        model: keras.Model,
        class_names: Sequence[str],
        strategy: tf.distribute.Strategy | None = None,
    ) -> Evaluator:
        """As `Task.build_evaluator`."""
        from cait_finetune.scores.evaluation import Evaluator

        return Evaluator(model, strategy)

    def intervals(self, predictions: Predictions, evaluation: Evaluation) -> dict[str, Interval]:
        """As `Task.intervals`."""
        from cait_finetune.scores.intervals import wilson

        if not evaluation.examples:
            return {}
        return {"top1": wilson(evaluation.top1, evaluation.examples)}

    def mistakes(self, predictions: Predictions, postprocessing: Probabilities) -> list[Mistake]:
        """As `Task.mistakes`."""
        from cait_finetune.scores.mistakes import mistakes_of_one_class

        return mistakes_of_one_class(predictions, postprocessing.temperature)
