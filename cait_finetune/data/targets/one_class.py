"""Labels of images with exactly one class."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from cait_finetune.config import DatasetConfig
from cait_finetune.data.image_files.class_list import class_list, in_order
from cait_finetune.data.image_files.spreadsheet import Table
from cait_finetune.data.image_files.table_labels import (
    check_known,
    label_column,
    warn_of_joined,
    warn_of_repeated,
)
from cait_finetune.data.targets.any_classes import ANY_CLASSES
from cait_finetune.data.targets.target import Target
from cait_finetune.errors import bad_value

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

    from cait_finetune.data.image_files.files import Files
    from cait_finetune.data.label_index import LabelIndex

logger = logging.getLogger(__name__)

_KEY = "dataset.data_dir"
_SHOWN = 3


class OneClass(Target):
    """The number of the class: () int32."""

    words = "one class label"
    task = "classification"
    dtype = tf.int32
    in_folders = True
    weighable = True
    stratified = True
    needs_each_class = True

    def shape(self, classes: int) -> tuple[int, ...]:
        """As `Target.shape`."""
        return ()

    def class_numbers(self, label: np.ndarray) -> list[int]:
        """As `Target.class_numbers`."""
        return [int(label)]

    def class_counts(self, labels: np.ndarray, classes: int) -> np.ndarray:
        """As `Target.class_counts`."""
        return np.bincount(labels, minlength=classes)

    def columns(self, labels: np.ndarray) -> Sequence[np.ndarray]:
        """As `Target.columns`."""
        return [labels]

    def strangers(self, labels: np.ndarray, classes: int) -> np.ndarray:
        """As `Target.strangers`."""
        return np.flatnonzero((labels < 0) | (labels >= classes))

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """As `Target.strata`: one group for each class."""
        return labels

    def is_label(self, feature: tfds.features.FeatureConnector) -> bool:
        """As `Target.is_label`."""
        return feature.shape == () and tf.as_dtype(feature.np_dtype).is_integer

    def tensor(self, label: Any, classes: int, numbers: Sequence[int] | None) -> tf.Tensor:
        """As `Target.tensor`."""
        label = tf.cast(label, tf.int32)
        return label if numbers is None else tf.gather(numbers, label)

    def array(self, index: LabelIndex, classes: int) -> np.ndarray:
        """As `Target.array`: ``(N,)`` int32."""
        return index.labels.astype(np.int32)

    def read_table(self, config: DatasetConfig, table: Table) -> tuple[tuple[str, ...], np.ndarray]:
        """As `Target.read_table`: labels ``(N,)`` int32."""
        return _one_label(config, table)

    def merge_rows(
        self,
        config: DatasetConfig,
        table: Table,
        files: Files,
        names: Sequence[str],
        repeated: Sequence[Sequence[int]],
    ) -> tuple[np.ndarray, tuple[str, ...]]:
        """As `Target.merge_rows`: each row is an example."""
        if repeated:
            _check_one_label(table, files, names, repeated)
        return np.arange(len(files)), ()


ONE_CLASS = OneClass()


def _one_label(config: DatasetConfig, table: Table) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the class names, and the label of each row, ``(N,)`` int32.

    Raises:
        UserError: ``dataset.columns.classes`` is set, the label column is missing, a cell is empty or
            has a label that is not in the class list; or as `class_list`.
    """
    if config.columns.classes:
        raise bad_value(
            "dataset.columns.classes",
            "a list with task=classification",
            "null: a single label is in one column",
            f"add task={ANY_CLASSES.task} if an image may have several",
        )
    column = label_column(config, table)
    cells = table.column(column)
    empty = [row for row, cell in enumerate(cells) if not cell]
    if empty:
        raise bad_value(
            _KEY, f"{table.path}, column {column}: no label in {table.at(empty)}", "one in each row"
        )
    names = class_list(config, in_order(set(cells)), f"column {column} of {table.path}")
    warn_of_joined(config, names, ANY_CLASSES.task)
    number = {name: label for label, name in enumerate(names)}
    check_known(table, ((row, cell) for row, cell in enumerate(cells)), number)
    return names, np.array([number[cell] for cell in cells], np.int32)


def _check_one_label(
    table: Table, files: Files, names: Sequence[str], twice: Sequence[Sequence[int]]
) -> None:
    """Warn of images that are listed more than once.

    Raises:
        UserError: the rows of an image have different labels.
    """
    wrong = [rows for rows in twice if len(set(files.labels[rows])) > 1]
    if wrong:
        shown = "; ".join(
            f"{files.ids[rows[0]]} is "
            + ", ".join(f"{names[files.labels[row]]} ({table.at([row])})" for row in rows[:_SHOWN])
            for rows in wrong[:_SHOWN]
        )
        more = f"; … ({len(wrong):,} images in all)" if len(wrong) > _SHOWN else ""
        raise bad_value(
            _KEY,
            f"{table.path} with two labels of an image: {shown}{more}",
            "one label for each image",
            f"Correct these rows, or set task={ANY_CLASSES.task} if an image may have several labels",
        )
    warn_of_repeated(table, files, twice)
