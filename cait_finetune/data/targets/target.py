"""The interface of the kinds of labels: how labels are stored, read, counted and divided."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import tensorflow as tf

from cait_finetune.config import DatasetConfig
from cait_finetune.data.image_files.table_labels import label_column
from cait_finetune.errors import bad_value

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

    from cait_finetune.data.image_files.files import Files
    from cait_finetune.data.image_files.spreadsheet import Table
    from cait_finetune.data.label_index import LabelIndex


class Target(abc.ABC):
    """A kind of label. N is the number of examples, C the number of classes.

    Attributes:
        words: the kind of label, for messages.
        task: the value of the key `task` for these labels.
        dtype: type of a label in arrays and tensors.
        has_classes: whether labels are classes. False: they are numbers, and the class names of a
            source name the targets. `class_numbers` and `class_counts` then raise TypeError.
        in_folders: whether the folder of an image can be its label.
        weighable: whether an example can have a weight in the training loss.
        stratified: whether `strata` returns groups.
        stratum: what the images of such a group share, for messages.
        needs_each_class: whether each class needs an image to train on.
        one_list: whether all columns are classes of one list, which `dataset.num_classes` counts.
    """

    words: ClassVar[str]
    task: ClassVar[str]
    dtype: ClassVar[tf.DType]
    has_classes: ClassVar[bool] = True
    in_folders: ClassVar[bool]
    weighable: ClassVar[bool]
    stratified: ClassVar[bool]
    stratum: ClassVar[str] = "class"
    needs_each_class: ClassVar[bool]
    one_list: ClassVar[bool] = True

    def named(self, class_names: Sequence[str]) -> Target:
        """Return the kind of label with these class names, in column order. Most kinds do not need them."""
        return self

    @abc.abstractmethod
    def shape(self, classes: int) -> tuple[int, ...]:
        """Return the shape of a label."""

    def blank(self, classes: int) -> tf.Tensor:
        """Return the label of a blank image."""
        return tf.zeros(self.shape(classes), self.dtype)

    @abc.abstractmethod
    def class_numbers(self, label: np.ndarray) -> list[int]:
        """Return the numbers of an example's classes."""

    def label_texts(self, label: np.ndarray, names: Sequence[str]) -> list[str]:
        """Return the label of an example as text: the names of its classes. `names` has all names.

        Fingerprints contain these texts: another text makes another data set.
        """
        return [names[number] for number in self.class_numbers(label)]

    def weighted(self, label: tf.Tensor, weight: tf.Tensor, classes: int) -> tf.Tensor:
        """Return the label of a training batch with the example's weight: ``(C,)`` float32.

        Args:
            label: the label of one example.
            weight: () float32.
        """
        return tf.one_hot(label, classes) * weight

    @abc.abstractmethod
    def class_counts(self, labels: np.ndarray, classes: int) -> np.ndarray:
        """Return the number of examples of each class, ``(C,)`` int64."""

    @abc.abstractmethod
    def columns(self, labels: np.ndarray) -> Sequence[np.ndarray]:
        """Return the arrays ``(N,)`` by which a data set can be sorted."""

    @abc.abstractmethod
    def strangers(self, labels: np.ndarray, classes: int) -> np.ndarray:
        """Return the rows whose label is not in the class list."""

    def unlabelled(self, labels: np.ndarray) -> np.ndarray:
        """Return the rows without a label, which are left out. Most kinds refuse such images."""
        return np.zeros(0, np.int64)

    @abc.abstractmethod
    def strata(self, labels: np.ndarray) -> np.ndarray:
        """Return the group of each example, ``(N,)`` int.

        Each part of a divided data set gets the same share of every group. If all examples are in one
        group, the division is random.
        """

    @abc.abstractmethod
    def is_label(self, feature: tfds.features.FeatureConnector) -> bool:
        """Return whether a feature of a TFDS set holds such labels."""

    def stored(self, label: Any) -> tf.Tensor:
        """Convert the label of a TFDS example to the form of `LabelIndex`.

        Returns:
            () or (n,) int64, or (A,) bool for attributes, sorted by name.
        """
        if isinstance(label, dict):
            return tf.stack([tf.cast(label[name], tf.bool) for name in sorted(label)])
        return tf.cast(label, tf.int64)

    @abc.abstractmethod
    def tensor(self, label: Any, classes: int, numbers: Sequence[int] | None) -> tf.Tensor:
        """Convert the label of a TFDS example to a tensor of `shape` and `dtype`.

        Args:
            numbers: the new number of each class. `None`: the stored numbers.
        """

    @abc.abstractmethod
    def array(self, index: LabelIndex, classes: int) -> np.ndarray:
        """Convert the stored labels of a TFDS split to ``(N, *shape)``."""

    def index_strangers(self, index: LabelIndex, classes: int) -> tuple[np.ndarray, np.ndarray]:
        """Return rows and values of the stored labels of a TFDS split that are not in the class list."""
        if index.labels.ndim == 2:  # attributes have no label numbers
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        outside = (index.labels < 0) | (index.labels >= classes)
        return index.example_of_label()[outside], index.labels[outside]

    def described(self, class_names: Sequence[str]) -> str:
        """Return what the labels of a set are, for the line that describes it."""
        return f"{len(class_names):,} classes"

    def table_columns(self, config: DatasetConfig, table: Table) -> list[str]:
        """Return the columns of a table that hold the labels.

        Raises:
            UserError: the table has no label column.
        """
        return list(config.columns.classes or [label_column(config, table)])

    def check_config(self, config: DatasetConfig) -> None:
        """Check the keys of `dataset` that do not fit this kind of label.

        Raises:
            UserError: a key does not fit.
        """
        if config.columns.targets:
            raise bad_value(
                "dataset.columns.targets",
                f"[{','.join(config.columns.targets)}] with task={self.task}",
                "null: targets are numbers",
                "Set task=regression to train on numbers.",
            )
        self._refuse_labels(config)

    def _refuse_labels(self, config: DatasetConfig) -> None:
        if config.columns.labels:
            raise bad_value(
                "dataset.columns.labels",
                f"[{','.join(config.columns.labels)}] with task={self.task}",
                "null: an image has one label",
                "Set task=several for several labels, or dataset.columns.label for one.",
            )

    def check_train(  # noqa: B027
        self, labels: np.ndarray, names: Sequence[str], config: DatasetConfig
    ) -> None:
        """Check the labels of the final train split.

        Raises:
            UserError: nothing can be learned from these labels.
        """

    @abc.abstractmethod
    def read_table(self, config: DatasetConfig, table: Table) -> tuple[tuple[str, ...], np.ndarray]:
        """Return the class names, and the label of each row of a table.

        Raises:
            UserError: the configuration is wrong, or the table has no labels of this kind.
        """

    @abc.abstractmethod
    def merge_rows(
        self,
        config: DatasetConfig,
        table: Table,
        files: Files,
        names: Sequence[str],
        repeated: Sequence[Sequence[int]],
    ) -> tuple[np.ndarray, tuple[str, ...]]:
        """Return the rows of a table that become examples, ``(M,)`` int, and notes for the user.

        Args:
            files: the file of each row. The function may change their labels.
            names: the class names.
            repeated: for each image that is listed several times, its rows.

        Raises:
            UserError: rows of an image contradict each other.
        """
