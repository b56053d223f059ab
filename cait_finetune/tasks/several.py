"""Several answers: each image has one class of each of several labels, such as a species and a colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from cait_finetune.config import Config
from cait_finetune.config.metrics import of_label
from cait_finetune.errors import bad_value
from cait_finetune.tasks.task import Task
from cait_tf.label_groups import label_groups

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from cait_finetune.data.source import Source
    from cait_finetune.data.targets.target import Target
    from cait_finetune.scores.intervals import Interval
    from cait_finetune.scores.mistakes import Mistake
    from cait_finetune.scores.predictions import Predictions
    from cait_finetune.scores.several import SeveralEvaluation, SeveralEvaluator
    from cait_finetune.scores.several_probabilities import SeveralProbabilities
    from cait_finetune.train.loss import Loss

_HEADS = ("linear", "batchnorm_linear")


class Several(Task):
    """Each image has one class of each label: a softmax for each label, judged by the mean top-1.

    One linear layer is the head of all labels. Each column belongs to one label, and two labels share
    no parameter of the layer.
    """

    name = "several"
    metrics = ("top1", "mean_per_class")
    measured = ("loss", "top1", "mean_per_class")
    losses = ("cross_entropy", "bce")
    fewest = 2
    answers = "labels"
    one_class = False
    sections = ("Classes", "Confusion", "Calibration", "Mistakes")
    confidence = ("probability of the predicted class", "share that is right")
    per_image = "one of each label per image (the name before `=` is the label)"
    answer = "The model assigns a class of each label to every image, even if the image shows none of them."
    unable: ClassVar[Mapping[str, str]] = {"timm": "timm's models have one softmax"}
    use = (
        "An image has a class of each label. `label_names` lists the labels. `predicted_class` and "
        "`probability` have a column for each label. `probabilities` has a column for each class: "
        "`class_names` names it `label=class`, and the columns of a label add up to 1."
    )

    def check(self, config: Config) -> None:
        """As `Task.check`. L-BFGS and shared heads need one label per image."""
        super().check(config)
        if config.dataset.source not in ("csv", "tfds", "digits"):
            raise bad_value(
                "task",
                f"{self.name} with dataset.source={config.dataset.source}",
                "classification: in folders an image has one label",
                "List the images in a table: dataset=csv",
            )
        labels, weights = config.dataset.columns.labels, config.loss.weights
        if labels and weights is not None and len(weights) != len(labels):
            raise bad_value(
                "loss.weights",
                f"{len(weights)} numbers",
                f"{len(labels)}, one for each of dataset.columns.labels: {', '.join(labels)}",
            )
        if config.tuning.solver == "lbfgs":
            raise bad_value(
                "tuning.solver",
                f"lbfgs with task={self.name}",
                "sgd: L-BFGS solves plain logistic regression, with one label per image",
                "Set tuning.solver=sgd.",
            )
        if config.head.name not in _HEADS:
            raise bad_value(
                "head.name",
                f"{config.head.name} with task={self.name}",
                f"{' or '.join(_HEADS)}: the labels would share parameters of this head",
                "Set head=linear.",
            )

    @property
    def target(self) -> Target:
        """As `Task.target`."""
        from cait_finetune.data.targets.several_labels import SEVERAL_LABELS

        return SEVERAL_LABELS

    @property
    def postprocessing(self) -> SeveralProbabilities:
        """As `Task.postprocessing`."""
        from cait_finetune.scores.several_probabilities import SeveralProbabilities

        return SeveralProbabilities()

    def also(self, class_names: Sequence[str]) -> tuple[str, ...]:
        """As `Task.also`: the top-1 of each label."""
        return tuple(of_label("top1", group.name) for group in label_groups(class_names))

    def build_loss(self, config: Config, source: Source) -> Loss:
        """As `Task.build_loss`."""
        from cait_finetune.train.several_loss import several_losses

        labels = config.dataset.columns.labels
        weight_of = dict(zip(labels, config.loss.weights or [1.0] * len(labels), strict=True))
        groups = label_groups(source.class_names)  # a continued run keeps the first run's order
        return several_losses(
            config.loss,
            config.train.label_smoothing,
            [group.columns for group in groups],
            [weight_of[group.name] for group in groups],
            source.class_counts("train"),
            source.sizes["train"],
            source.weighted,
        )

    def build_evaluator(
        self,
        model: keras.Model,
        class_names: Sequence[str],
        strategy: tf.distribute.Strategy | None = None,
    ) -> SeveralEvaluator:
        """As `Task.build_evaluator`."""
        from cait_finetune.scores.several import SeveralEvaluator

        return SeveralEvaluator(model, class_names, strategy)

    def intervals(
        self, predictions: Predictions, evaluation: SeveralEvaluation
    ) -> dict[str, Interval]:
        """As `Task.intervals`: of the means over the labels, and of each label.

        With a single label, the mean top-1 has that label's interval, as in classification.
        """
        from cait_finetune.scores.bootstrap import label_mean_intervals
        from cait_finetune.scores.intervals import wilson

        of_each = {
            of_label("top1", name): wilson(one.top1, one.examples)
            for name, one in evaluation.labels.items()
            if one.examples
        }
        means = label_mean_intervals(predictions)
        if len(of_each) == 1:
            means["top1"] = next(iter(of_each.values()))
        return means | of_each

    def mistakes(
        self, predictions: Predictions, postprocessing: SeveralProbabilities
    ) -> list[Mistake]:
        """As `Task.mistakes`: of all labels. Classes are named ``label=class``."""
        from cait_finetune.scores.mistakes import mistakes_of_one_class

        found = [
            mistake
            for one in postprocessing.of_labels(predictions)
            for mistake in mistakes_of_one_class(one.predictions, one.postprocessing.temperature)
        ]
        return sorted(found, key=lambda mistake: -(mistake.probability or 0.0))
