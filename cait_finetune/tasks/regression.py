"""Regression: each image has one number for each target, such as an age or an angle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cait_finetune.config import Config, TaskConfig
from cait_finetune.errors import bad_value
from cait_finetune.tasks.task import Task

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from cait_finetune.data.source import Source
    from cait_finetune.data.targets.target import Target
    from cait_finetune.scores.evaluation import NumberEvaluation, NumberEvaluator
    from cait_finetune.scores.intervals import Interval
    from cait_finetune.scores.mistakes import Mistake
    from cait_finetune.scores.numbers import Numbers
    from cait_finetune.scores.predictions import Predictions
    from cait_finetune.train.loss import Loss


@dataclass(frozen=True)
class Regression(Task):
    """Each image has a number for each target: squared error, judged by R².

    Attributes:
        alpha: the expected share of images outside the interval of a number.
    """

    alpha: float = 0.1

    name = "regression"
    metrics = ("r2",)
    measured = ("loss", "r2", "mae", "rmse", "spearman")
    losses = ("mse", "huber", "l1")
    fewest = 1
    answers = "numbers"
    train_metric = "mae"
    one_class = False
    sections = ("Targets", "Predictions", "Largest errors")
    kind = "image-regression"
    noun = ("A regressor of images", "target", "targets")
    use = (
        "`prediction` holds a number for each target, in the target's unit. `lower` and `upper`, if there, are "
        "the ends of its interval."
    )
    per_image = "a number each for every image"
    answer = "The model gives a number for every image, even if the image shows nothing to measure."

    def configured(self, config: TaskConfig) -> Regression:
        """As `Task.configured`."""
        return self if config.alpha is None else Regression(config.alpha)

    def check(self, config: Config) -> None:
        """As `Task.check`. Mixup, CutMix, class weights, logit adjustment and L-BFGS need classes."""
        super().check(config)
        loss, augment = config.loss, config.augment
        if augment.mixup or augment.cutmix:
            raise bad_value(
                "augment.mixup",
                f"{augment.mixup:g}, and augment.cutmix={augment.cutmix:g}, with task={self.name}",
                "0 for both: a mixed image has no number of its own",
                "Set augment.mixup=0 augment.cutmix=0.",
            )
        for key, got, off, why in (
            ("loss.class_weights", loss.class_weights, "none", "numbers have no classes"),
            ("loss.logit_adjustment", loss.logit_adjustment, 0, "numbers have no classes"),
            (
                "tuning.solver",
                config.tuning.solver or "sgd",
                "sgd",
                "L-BFGS solves logistic regression",
            ),
        ):
            if got != off:
                raise bad_value(
                    key, f"{got} with task={self.name}", f"{off}: {why}", f"Set {key}={off}."
                )

    @property
    def target(self) -> Target:
        """As `Task.target`."""
        from cait_finetune.data.targets.numbers import NUMBERS

        return NUMBERS

    @property
    def postprocessing(self) -> Numbers:
        """As `Task.postprocessing`."""
        from cait_finetune.scores.numbers import Numbers

        return Numbers(self.alpha)

    def also(self, class_names: Sequence[str]) -> tuple[str, ...]:
        """As `Task.also`."""
        return (
            ("mae", "rmse") if len(class_names) == 1 else ("spearman",)
        )  # errors in different units have no mean

    def build_loss(self, config: Config, source: Source) -> Loss:
        """As `Task.build_loss`."""
        from cait_finetune.train.loss import number_loss

        return number_loss(config.loss, source.labels("train"))

    def build_evaluator(
        self,
        model: keras.Model,
        class_names: Sequence[str],
        strategy: tf.distribute.Strategy | None = None,
    ) -> NumberEvaluator:
        """As `Task.build_evaluator`."""
        from cait_finetune.scores.evaluation import NumberEvaluator

        return NumberEvaluator(model, strategy)

    def intervals(
        self, predictions: Predictions, evaluation: NumberEvaluation
    ) -> dict[str, Interval]:
        """As `Task.intervals`."""
        from cait_finetune.scores.bootstrap import r2_interval

        interval = r2_interval(predictions)
        return {} if interval is None else {"r2": interval}

    def mistakes(self, predictions: Predictions, postprocessing: Numbers) -> list[Mistake]:
        """As `Task.mistakes`: none. The report shows the largest errors."""
        return []
