"""Labels of images with any number of classes, including none."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from cait_finetune.config import DatasetConfig
from cait_finetune.data.image_files.class_list import class_list, in_order, some
from cait_finetune.data.image_files.spreadsheet import Table
from cait_finetune.data.image_files.table_labels import check_known, label_column
from cait_finetune.data.targets.target import Target
from cait_finetune.errors import bad_value

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

    from cait_finetune.data.image_files.files import Files
    from cait_finetune.data.label_index import LabelIndex

logger = logging.getLogger(__name__)

_KEY = "dataset.data_dir"
#: Signs that separate labels in other tables. A bracket begins a list.
_SEPARATORS = (",", ";", "|", "[")
_ZERO_ONE = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0}


class AnyClasses(Target):
    """Whether the image has each class: ``(C,)`` float32 of zeros and ones."""

    words = "labels of any number of classes"
    task = "multi_label"
    dtype = tf.float32
    in_folders = False
    weighable = False
    stratified = False
    needs_each_class = False  # images with several classes cannot be divided class by class

    def shape(self, classes: int) -> tuple[int, ...]:
        """As `Target.shape`."""
        return (classes,)

    def class_numbers(self, label: np.ndarray) -> list[int]:
        """As `Target.class_numbers`."""
        return np.flatnonzero(label > 0.5).tolist()

    def class_counts(self, labels: np.ndarray, classes: int) -> np.ndarray:
        """As `Target.class_counts`."""
        return labels.sum(axis=0).astype("int64")

    def columns(self, labels: np.ndarray) -> Sequence[np.ndarray]:
        """As `Target.columns`."""
        return labels.T

    def strangers(self, labels: np.ndarray, classes: int) -> np.ndarray:
        """As `Target.strangers`: none, because each column is a class of the list."""
        return np.zeros(0, np.int64)

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """As `Target.strata`: one group, because an image counts for several classes."""
        return np.zeros(len(labels), int)

    def is_label(self, feature: tfds.features.FeatureConnector) -> bool:
        """As `Target.is_label`: a list of classes, or a feature for each attribute."""
        import tensorflow_datasets as tfds

        if isinstance(feature, tfds.features.FeaturesDict):
            return all(
                one.shape == () and tf.as_dtype(one.np_dtype).is_bool for one in feature.values()
            )
        return isinstance(feature, tfds.features.Sequence) and isinstance(
            feature.feature, tfds.features.ClassLabel
        )

    def tensor(self, label: Any, classes: int, numbers: Sequence[int] | None) -> tf.Tensor:
        """As `Target.tensor`."""
        if isinstance(label, dict):  # one feature for each attribute
            columns = tf.stack([tf.cast(label[name], tf.float32) for name in sorted(label)])
        else:
            one_hot = tf.one_hot(tf.cast(label, tf.int32), classes)  # (n, C)
            columns = tf.minimum(tf.reduce_sum(one_hot, axis=0), 1.0)  # (C,)
        if numbers is None:
            return columns
        return tf.ensure_shape(tf.gather(columns, np.argsort(numbers)), columns.shape)

    def array(self, index: LabelIndex, classes: int) -> np.ndarray:
        """As `Target.array`: ``(N, C)`` float32."""
        if index.labels.ndim == 2:  # attributes
            return index.labels.astype(np.float32)
        labels = np.zeros((len(index), classes), np.float32)
        known = (index.labels >= 0) & (index.labels < classes)
        labels[index.example_of_label()[known], index.labels[known]] = 1
        return labels

    def read_table(self, config: DatasetConfig, table: Table) -> tuple[tuple[str, ...], np.ndarray]:
        """As `Target.read_table`: labels ``(N, C)`` float32."""
        return _several_labels(config, table)

    def merge_rows(
        self,
        config: DatasetConfig,
        table: Table,
        files: Files,
        names: Sequence[str],
        repeated: Sequence[Sequence[int]],
    ) -> tuple[np.ndarray, tuple[str, ...]]:
        """As `Target.merge_rows`: several rows of an image become one example with all their labels."""
        kept, notes = np.arange(len(files)), []
        if repeated:
            kept = _merge_labels(config, table, files, repeated)
            count = len(files) - len(kept) + len(repeated)
            notes.append(f"files  {count:,} rows of {len(repeated):,} images are one example each")
        columns = config.columns
        if not columns.classes and files.labels[kept].sum(axis=1).max() < 2:
            notes.append(f"labels  no image has two: {columns.separator!r} would separate them")
        return kept, tuple(notes)


ANY_CLASSES = AnyClasses()


def _several_labels(config: DatasetConfig, table: Table) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the class names, and the labels of each row, ``(N, C)`` float32 of zeros and ones.

    Raises:
        UserError: configured keys contradict each other; a column is missing or has invalid cells; a
            label is not in the class list; no row has a label; the separator of the labels also
            separates the columns; or as `class_list`.
    """
    if config.columns.classes:
        return _zeros_and_ones(config, table)
    separator = config.columns.separator
    if table.delimiter == separator:
        raise bad_value(
            "dataset.columns.separator",
            f"{separator!r}, which also divides the columns of {table.path}",
            "another separator between the labels of an image",
        )
    column = label_column(config, table)
    cells = [
        [label for label in (part.strip() for part in cell.split(separator)) if label]
        for cell in table.column(column)
    ]
    found = {label for cell in cells for label in cell}
    if not found and not config.class_names:
        raise bad_value(_KEY, f"{table.path}, column {column}: no label at all", "labels")
    names = class_list(config, in_order(found), f"column {column} of {table.path}", fewest=1)
    _warn_of_separators(names)
    number = {name: label for label, name in enumerate(names)}
    check_known(table, ((row, label) for row, cell in enumerate(cells) for label in cell), number)
    labels = np.zeros((len(cells), len(names)), np.float32)
    for row, cell in enumerate(cells):
        labels[row, [number[label] for label in cell]] = 1.0
    return names, labels


def _warn_of_separators(names: Iterable[str]) -> None:
    """Warn if class names contain a character that other tables use as a separator."""
    signs = [sign for sign in _SEPARATORS if any(sign in name for name in names)]
    if signs:
        shown = some([name for name in names if any(sign in name for sign in signs)])
        logger.warning(
            "classes whose names hold %s: %s; set dataset.columns.separator if they are several labels",
            " and ".join(map(repr, signs)), shown,
        )  # fmt: skip


def _zeros_and_ones(config: DatasetConfig, table: Table) -> tuple[tuple[str, ...], np.ndarray]:
    key, columns = "dataset.columns.classes", config.columns.classes
    if config.columns.label:
        raise bad_value(
            key, f"a list beside dataset.columns.label={config.columns.label}", "one of the two"
        )
    for column in columns:
        table.find(key, column, ())
    if config.class_names and set(config.class_names) != set(columns):
        raise bad_value(
            "dataset.class_names", some(config.class_names), f"those of {key}: {some(columns)}"
        )
    names = class_list(config, columns, f"{table.path}, by {key},", fewest=1)
    labels = np.zeros((len(table.rows), len(names)), np.float32)
    for place, column in enumerate(names):
        cells = table.column(column)
        wrong = [row for row, cell in enumerate(cells) if cell not in _ZERO_ONE]
        if wrong:
            raise bad_value(
                _KEY,
                f"{table.path}, column {column}: {cells[wrong[0]]!r} in {table.at(wrong)}",
                "0 or 1",
            )
        labels[:, place] = [_ZERO_ONE[cell] for cell in cells]
    return names, labels


def _merge_labels(
    config: DatasetConfig, table: Table, files: Files, twice: Sequence[Sequence[int]]
) -> np.ndarray:
    """Give the first row of a file the labels of all its rows, in place. Return the first rows.

    Returns:
        ``(M,)`` int: the first row of each of the M different files.

    Raises:
        UserError: ``dataset.columns.classes`` is set, and rows of a file have different labels.
    """
    dropped = np.zeros(len(files), bool)
    for rows in twice:
        labels = files.labels[rows]  # (n, C)
        if config.columns.classes and (labels != labels[0]).any():
            raise bad_value(
                _KEY,
                f"{table.path}: {files.ids[rows[0]]} with different zeros and ones ({table.at(rows)})",
                "one row for each image, or equal ones",
            )
        files.labels[rows[0]] = labels.max(axis=0)
        dropped[rows[1:]] = True
    return np.flatnonzero(~dropped)
