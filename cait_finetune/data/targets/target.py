"""The interface of the kinds of labels: how labels are stored, read, counted and divided."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import tensorflow as tf

from cait_finetune.config import DatasetConfig

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

    from cait_finetune.data.image_files.files import Files
    from cait_finetune.data.image_files.spreadsheet import Table
    from cait_finetune.data.label_index import LabelIndex


class Target(abc.ABC):
    """A kind of label. N is the number of examples, C the number of classes.

    Attributes:
        words: the kind of label, for messages.
        task: the task whose labels these are, as `task` names it.
        dtype: type of a label in arrays and tensors.
        in_folders: whether the folder of an image can be its label.
        weighable: whether an example can have a weight in the training loss.
        stratified: whether `strata` returns groups.
        needs_each_class: whether each class needs an image to train on.
    """

    words: ClassVar[str]
    task: ClassVar[str]
    dtype: ClassVar[tf.DType]
    in_folders: ClassVar[bool]
    weighable: ClassVar[bool]
    stratified: ClassVar[bool]
    needs_each_class: ClassVar[bool]

    @abc.abstractmethod
    def shape(self, classes: int) -> tuple[int, ...]:
        """Return the shape of a label."""

    def blank(self, classes: int) -> tf.Tensor:
        """Return the label of a blank image."""
        return tf.zeros(self.shape(classes), self.dtype)

    @abc.abstractmethod
    def class_numbers(self, label: np.ndarray) -> list[int]:
        """Return the numbers of an example's classes."""

    @abc.abstractmethod
    def class_counts(self, labels: np.ndarray, classes: int) -> np.ndarray:
        """Return the number of examples of each class, ``(C,)`` int64."""

    @abc.abstractmethod
    def columns(self, labels: np.ndarray) -> Sequence[np.ndarray]:
        """Return the arrays ``(N,)`` by which a data set can be sorted."""

    @abc.abstractmethod
    def strangers(self, labels: np.ndarray, classes: int) -> np.ndarray:
        """Return the rows whose label is not in the class list."""

    @abc.abstractmethod
    def strata(self, labels: np.ndarray) -> np.ndarray:
        """Return the group of each example, ``(N,)`` int.

        Each part of a divided data set gets the same share of every group. If all examples are in one
        group, the division is random.
        """

    @abc.abstractmethod
    def is_label(self, feature: tfds.features.FeatureConnector) -> bool:
        """Return whether a feature of a TFDS set holds such labels."""

    @abc.abstractmethod
    def tensor(self, label: Any, classes: int, numbers: Sequence[int] | None) -> tf.Tensor:
        """Convert the stored label of a TFDS example.

        Args:
            numbers: the new number of each class. `None`: the stored numbers.
        """

    @abc.abstractmethod
    def array(self, index: LabelIndex, classes: int) -> np.ndarray:
        """Convert the stored labels of a TFDS split."""

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
