"""The interface of a task: what a label is, and all that depends on it."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from cait_finetune.config import Config, DatasetConfig, ExportConfig, TaskConfig
from cait_finetune.config.checks import within
from cait_finetune.errors import bad_value

# Tasks import modules that need TensorFlow inside methods. Configuration errors are then reported
# before TensorFlow is imported, which takes seconds.
if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from cait_finetune.data.source import Source
    from cait_finetune.data.targets.target import Target
    from cait_finetune.scores.evaluation import AnyEvaluation, AnyEvaluator
    from cait_finetune.scores.intervals import Interval
    from cait_finetune.scores.mistakes import Mistake
    from cait_finetune.scores.postprocessing import Postprocessing
    from cait_finetune.scores.predictions import Predictions
    from cait_finetune.train.loss import Loss


class Task(abc.ABC):
    """What a label is, and all that depends on it.

    Attributes:
        name: the value of the key `task.name`, and the name of the file in ``conf/task/``.
        metrics: metrics that can decide which epoch is best. The first is the default.
        measured: all metrics of a validation, without the prefix that ``metrics.jsonl`` gives them.
        losses: the allowed values of `loss.name`. ``auto`` chooses the first.
        fewest: the smallest number of classes that a data set may have.
        answers: the answers of an exported file: ``class``, ``labels`` (a class for each label) or
            ``numbers``.
        train_metric: the metric that the training loss measures on each batch (`Loss.correct`).
        one_class: whether the answer for an image is exactly one class.
        sections: titles of the report sections that this task has and other tasks may lack.
        confidence: the labels of the calibration figure's axes.
        kind: the hub's name of the task.
        noun: what the model is, and what one or several columns are, for the model card.
        per_image: how many classes an image has, for the model card.
        answer: what the model answers for an image, for the model card. ``{classes}`` is their number.
        unable: export formats that cannot hold the answers, and why.
        use: a paragraph on how to use the answers, for the model card. Empty: none.
    """

    name: ClassVar[str]
    metrics: ClassVar[tuple[str, ...]]
    measured: ClassVar[tuple[str, ...]]
    losses: ClassVar[tuple[str, ...]]
    fewest: ClassVar[int]
    answers: ClassVar[str] = "class"
    train_metric: ClassVar[str] = "accuracy"
    one_class: ClassVar[bool]
    sections: ClassVar[tuple[str, ...]]
    confidence: ClassVar[tuple[str, str]]
    kind: ClassVar[str] = "image-classification"
    noun: ClassVar[tuple[str, str, str]] = ("An image classifier", "class", "classes")
    per_image: ClassVar[str]
    answer: ClassVar[str]
    unable: ClassVar[Mapping[str, str]] = {}
    use: ClassVar[str] = ""

    @property
    def numbers(self) -> bool:
        """Whether the model answers with numbers in the units of targets, not with classes."""
        return self.answers == "numbers"

    def configured(self, config: TaskConfig) -> Task:
        """Return the task with the values of its own keys."""
        return self

    def judged_by(self, dataset: DatasetConfig) -> str:
        """Return the metric that decides which epoch is best: `dataset.metric`, or the default."""
        return dataset.metric or self.metrics[0]

    def check(self, config: Config) -> None:
        """Check the keys whose values depend on the task.

        Raises:
            UserError: a value does not fit the task.
        """
        dataset, loss = config.dataset, config.loss
        within("dataset.num_classes", dataset.num_classes, self.fewest)
        if dataset.metric is not None and dataset.metric not in self.metrics:
            raise bad_value(
                "dataset.metric",
                f"{dataset.metric} with task={self.name}",
                f"{' or '.join(self.metrics)}, or null",
            )
        if loss.name not in ("auto", *self.losses):
            raise bad_value(
                "loss.name",
                f"{loss.name} with task={self.name}",
                f"{' or '.join(self.losses)}",
                "Set loss=auto, which chooses one.",
            )
        self.check_export(config.export)

    def check_export(self, export: ExportConfig) -> None:
        """Check that every export format can hold the task's answers.

        Raises:
            UserError: a format cannot hold them.
        """
        for name in export.formats:
            if name in self.unable:
                raise bad_value(
                    f"export.{name}",
                    f"true with task={self.name}",
                    f"false: {self.unable[name]}",
                    "Choose another format, such as export=onnx.",
                )

    @property
    @abc.abstractmethod
    def target(self) -> Target:
        """How labels are stored, read, counted and split."""

    @property
    @abc.abstractmethod
    def postprocessing(self) -> Postprocessing:
        """The postprocessing of a model's outputs, before it is fitted."""

    @abc.abstractmethod
    def also(self, class_names: Sequence[str]) -> tuple[str, ...]:
        """Return the metrics that a run's summary shows in addition to the deciding metric, if measured."""

    @abc.abstractmethod
    def build_loss(self, config: Config, source: Source) -> Loss:
        """Return the training loss."""

    @abc.abstractmethod
    def build_evaluator(
        self,
        model: keras.Model,
        class_names: Sequence[str],
        strategy: tf.distribute.Strategy | None = None,
    ) -> AnyEvaluator:
        """Return the function that measures the loss and all metrics in one pass over batches.

        Args:
            class_names: names of the model's columns.
        """

    @abc.abstractmethod
    def intervals(self, predictions: Predictions, evaluation: AnyEvaluation) -> dict[str, Interval]:
        """Return the 95 % intervals of metrics, by the metric's name."""

    @abc.abstractmethod
    def mistakes(self, predictions: Predictions, postprocessing: Postprocessing) -> list[Mistake]:
        """Return the images that the model gets wrong, most confident first.

        Empty: the report has no section "Mistakes".
        """
