"""Multi-label classification: an image can have any number of classes, or none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cait_finetune.config import Config
from cait_finetune.errors import bad_value
from cait_finetune.tasks.task import Task

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from cait_finetune.data.source import Source
    from cait_finetune.data.targets.target import Target
    from cait_finetune.scores.evaluation import MultiLabelEvaluation, MultiLabelEvaluator
    from cait_finetune.scores.intervals import Interval
    from cait_finetune.scores.mistakes import Mistake
    from cait_finetune.scores.predictions import Predictions
    from cait_finetune.scores.probabilities import Probabilities
    from cait_finetune.train.loss import Loss


class MultiLabel(Task):
    """An image can have any number of classes: sigmoids and binary cross-entropy, judged by mAP."""

    name = "multi_label"
    metrics = ("mean_average_precision",)
    measured = ("loss", "mean_average_precision", "f1")
    losses = ("bce", "asymmetric")
    fewest = 1
    one_class = False
    sections = ("Classes", "Calibration", "Mistakes")
    confidence = ("probability of the class", "share of images with the class")
    per_image = "any number of them per image"
    answer = (
        "Each class has its own probability; an image may have no class with a high probability."
    )
    use = (
        "An image may have several labels, or none: take the classes whose probability is above one half. "
        "`predicted_class` is the most probable class."
    )

    def check(self, config: Config) -> None:
        """As `Task.check`. Balanced sampling, logit adjustment and L-BFGS need one class per image."""
        super().check(config)
        if config.dataset.sampling == "balanced":
            raise bad_value(
                "dataset.sampling",
                "balanced with task=multi_label",
                "all, because an image can have a rare and a frequent class",
                "Weigh the classes in the loss instead: loss.class_weights=balanced",
            )
        if config.loss.logit_adjustment:
            raise bad_value(
                "loss.logit_adjustment",
                f"{config.loss.logit_adjustment:g} with task=multi_label",
                "0 with task=multi_label: logit adjustment is for images with one class",
                "Set loss.class_weights=balanced instead.",
            )
        if config.tuning.solver == "lbfgs":
            raise bad_value(
                "tuning.solver",
                "lbfgs with task=multi_label",
                "sgd: L-BFGS solves plain logistic regression, with one class per image",
                "Set tuning.solver=sgd.",
            )

    @property
    def target(self) -> Target:
        """As `Task.target`."""
        from cait_finetune.data.targets.any_classes import ANY_CLASSES

        return ANY_CLASSES

    @property
    def postprocessing(self) -> Probabilities:
        """As `Task.postprocessing`."""
        from cait_finetune.scores.activation import SIGMOID
        from cait_finetune.scores.probabilities import Probabilities

        return Probabilities(SIGMOID)

    def also(self, class_names: Sequence[str]) -> tuple[str, ...]:
        """As `Task.also`."""
        return ("f1",)

    def build_loss(self, config: Config, source: Source) -> Loss:
        """As `Task.build_loss`."""
        from cait_finetune.train.loss import label_loss, needs_counts

        return label_loss(
            config.loss,
            config.train.label_smoothing,
            source.class_counts("train") if needs_counts(config.loss) else None,
            source.sizes["train"],
        )

    def build_evaluator(
        self,
        model: keras.Model,
        class_names: Sequence[str],
        strategy: tf.distribute.Strategy | None = None,
    ) -> MultiLabelEvaluator:
        """As `Task.build_evaluator`."""
        from cait_finetune.scores.evaluation import MultiLabelEvaluator

        return MultiLabelEvaluator(model, strategy)

    def intervals(
        self, predictions: Predictions, evaluation: MultiLabelEvaluation
    ) -> dict[str, Interval]:
        """As `Task.intervals`."""
        from cait_finetune.scores.bootstrap import average_precision_interval

        interval = average_precision_interval(predictions)
        return {} if interval is None else {"mean_average_precision": interval}

    def mistakes(self, predictions: Predictions, postprocessing: Probabilities) -> list[Mistake]:
        """As `Task.mistakes`."""
        from cait_finetune.scores.mistakes import mistakes_of_any_classes

        return mistakes_of_any_classes(predictions, postprocessing.temperature)
