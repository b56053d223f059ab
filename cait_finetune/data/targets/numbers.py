"""Labels of images with one number for each target, such as an age or an angle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from cait_finetune.config import DatasetConfig
from cait_finetune.data.image_files.spreadsheet import Table
from cait_finetune.data.image_files.table_labels import label_column, warn_of_repeated
from cait_finetune.data.targets.target import Target
from cait_finetune.errors import bad_value

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

    from cait_finetune.data.image_files.files import Files
    from cait_finetune.data.label_index import LabelIndex

_KEY = "dataset.data_dir"
_TARGETS = "dataset.columns.targets"
_SHOWN = 3
_NAMED = 5  # targets in a line
#: Smallest number of images in a group of `Numbers.strata`, so that a share of 10 % is one image.
_SMALLEST_GROUP = 10
_MOST_GROUPS = 16


class Numbers(Target):
    """A number for each target: ``(T,)`` float32. The class names of a source name the targets.

    The argument `classes` of the methods is T.
    """

    words = "numbers"
    task = "regression"
    dtype = tf.float32
    has_classes = False
    in_folders = False
    weighable = True
    stratified = True
    needs_each_class = False

    def shape(self, classes: int) -> tuple[int, ...]:
        """As `Target.shape`."""
        return (classes,)

    def class_numbers(self, label: np.ndarray) -> list[int]:
        """Raise TypeError: callers ask `has_classes` first."""
        raise TypeError("numbers have no classes")

    def class_counts(self, labels: np.ndarray, classes: int) -> np.ndarray:
        """Raise TypeError: callers ask `has_classes` first."""
        raise TypeError("numbers have no classes")

    def label_texts(self, label: np.ndarray, names: Sequence[str]) -> list[str]:
        """As `Target.label_texts`: ``age=31.5`` for each target, exact for float32."""
        values = np.asarray(label, np.float32)
        return [f"{name}={value:.9g}" for name, value in zip(names, values, strict=True)]

    def weighted(self, label: tf.Tensor, weight: tf.Tensor, classes: int) -> tf.Tensor:
        """As `Target.weighted`: ``(T + 1,)``, the numbers and then the weight."""
        return tf.concat([label, tf.reshape(weight, (1,))], axis=0)

    def columns(self, labels: np.ndarray) -> Sequence[np.ndarray]:
        """As `Target.columns`: the group of each example by each target alone."""
        return [self.strata(column[:, None]) for column in labels.T]

    def strangers(self, labels: np.ndarray, classes: int) -> np.ndarray:
        """As `Target.strangers`: the rows with a number that is not finite."""
        return np.flatnonzero(~np.isfinite(labels).all(axis=1))

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """As `Target.strata`: at most 16 ranges between quantiles, each of at least 10 images.

        The method halves the examples at the median of the first target, the halves at the median
        of the next target, and so on in turn, like a k-d tree. For one target the groups are
        therefore quantile bins. For several targets each target is balanced, whatever their units
        and correlations. A cross product of bins would leave groups of single images instead. Equal
        numbers stay on one side of a cut. A cut that would leave fewer than 10 images on a side is
        omitted.
        """
        groups = np.zeros(len(labels), int)
        leaves = []
        waiting = [(np.arange(len(labels)), 0)]
        while waiting:
            rows, depth = waiting.pop()
            halves = _halves(labels[rows], depth) if 2**depth < _MOST_GROUPS else None
            if halves is None:
                leaves.append(rows)
            else:
                waiting += [(rows[~halves], depth + 1), (rows[halves], depth + 1)]
        for number, rows in enumerate(leaves):
            groups[rows] = number
        return groups

    def is_label(self, feature: tfds.features.FeatureConnector) -> bool:
        """As `Target.is_label`: numbers of shape () or (T,), or a dictionary of () floats."""
        import tensorflow_datasets as tfds

        if isinstance(feature, tfds.features.FeaturesDict):
            return bool(len(feature)) and all(
                one.shape == () and tf.as_dtype(one.np_dtype).is_floating
                for one in feature.values()
            )
        if isinstance(feature, tfds.features.ClassLabel):
            return False
        if isinstance(feature, tfds.features.Sequence) and isinstance(
            feature.feature, tfds.features.ClassLabel
        ):
            return False
        if not isinstance(feature.shape, tuple):  # nested features have a shape for each
            return False
        kind = tf.as_dtype(feature.np_dtype)
        fits = len(feature.shape) == 0 or (len(feature.shape) == 1 and bool(feature.shape[0]))
        return fits and (kind.is_floating or kind.is_integer)

    def feature_names(self, key: str, feature: tfds.features.FeatureConnector) -> list[str]:
        """Return the names of the targets of a TFDS feature.

        A number has the feature's name `key`; T numbers are ``key_0`` to ``key_{T-1}``. The entries
        of a dictionary are sorted by name.
        """
        import tensorflow_datasets as tfds

        if isinstance(feature, tfds.features.FeaturesDict):
            return sorted(feature)
        if feature.shape == ():
            return [key]
        return [f"{key}_{number}" for number in range(feature.shape[0])]

    def stored(self, label: Any) -> tf.Tensor:
        """As `Target.stored`: ``(T,)`` float32."""
        if isinstance(label, dict):
            return tf.stack([tf.cast(label[name], tf.float32) for name in sorted(label)])
        return tf.reshape(tf.cast(label, tf.float32), (max(1, label.shape.num_elements()),))

    def tensor(self, label: Any, classes: int, numbers: Sequence[int] | None) -> tf.Tensor:
        """As `Target.tensor`: ``(T,)`` float32."""
        values = tf.ensure_shape(self.stored(label), (classes,))
        return values if numbers is None else tf.gather(values, np.argsort(numbers))

    def array(self, index: LabelIndex, classes: int) -> np.ndarray:
        """As `Target.array`: ``(N, T)`` float32."""
        return index.labels.reshape(len(index), classes).astype(np.float32)

    def described(self, class_names: Sequence[str]) -> str:
        """As `Target.described`: the targets."""
        shown = ", ".join(class_names[:_NAMED]) + ", …" * (len(class_names) > _NAMED)
        return f"target {shown}" if len(class_names) == 1 else f"targets {shown}"

    def table_columns(self, config: DatasetConfig, table: Table) -> list[str]:
        """As `Target.table_columns`: ``dataset.columns.targets``, or the label column."""
        return list(config.columns.targets or [label_column(config, table)])

    def read_table(self, config: DatasetConfig, table: Table) -> tuple[tuple[str, ...], np.ndarray]:
        """As `Target.read_table`: the names of the targets, and the numbers ``(N, T)`` float32.

        Raises:
            UserError: a column is missing, or is named twice; or a cell is no finite number.
        """
        columns = config.columns
        if columns.targets and columns.label:
            raise bad_value(
                _TARGETS,
                f"a list beside dataset.columns.label={columns.label}",
                "one of the two",
                f"Add {columns.label} to the list if it is a target",
            )
        for column in columns.targets or ():
            table.find(_TARGETS, column, ())
        names = self.table_columns(config, table)
        labels = np.stack([_numbers(table, name) for name in names], axis=1)
        return tuple(names), labels

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
            self._check_equal(table, files, names, repeated)
        return np.arange(len(files)), ()

    def _check_equal(
        self,
        table: Table,
        files: Files,
        names: Sequence[str],
        repeated: Sequence[Sequence[int]],
    ) -> None:
        """Warn of images that are listed more than once.

        Raises:
            UserError: the rows of an image have different numbers.
        """
        wrong = [rows for rows in repeated if (files.labels[rows] != files.labels[rows[0]]).any()]
        if wrong:
            shown = "; ".join(
                f"{files.ids[rows[0]]} has "
                + ", ".join(
                    f"{' '.join(self.label_texts(files.labels[row], names))} ({table.at([row])})"
                    for row in rows[:_SHOWN]
                )
                for rows in wrong[:_SHOWN]
            )
            more = f"; … ({len(wrong):,} images in all)" if len(wrong) > _SHOWN else ""
            raise bad_value(
                _KEY,
                f"{table.path} with different numbers for an image: {shown}{more}",
                "the same numbers in all rows of an image",
                "Correct these rows, or keep one row of each image",
            )
        warn_of_repeated(table, files, repeated)

    def check_config(self, config: DatasetConfig) -> None:
        """As `Target.check_config`: refuse keys that need classes."""
        refused = (
            ("dataset.sampling", config.sampling == "balanced", config.sampling, "all",
             "Leave the key out: numbers have no classes to balance."),
            ("dataset.examples_per_class", config.examples_per_class is not None,
             config.examples_per_class, "null: numbers have no classes",
             "Set dataset.train_share=0.1 to train on 10 % of the images."),
            ("dataset.columns.classes", bool(config.columns.classes), config.columns.classes,
             "null: numbers have no classes",
             f"Set {_TARGETS}={_listed(config.columns.classes or ())} instead."),
            ("dataset.class_names", bool(config.class_names), _listed(config.class_names or ()),
             "null: the columns or features name the targets",
             f"Set {_TARGETS}=[…] to choose the columns of a table."),
        )  # fmt: skip
        for key, is_set, value, expected, hint in refused:
            if is_set:
                shown = _listed(value) if isinstance(value, list) else value
                raise bad_value(key, f"{shown} with task={self.task}", expected, hint)
        self._refuse_labels(config)

    def check_train(self, labels: np.ndarray, names: Sequence[str], config: DatasetConfig) -> None:
        """As `Target.check_train`: refuse a target that has one value in all training images."""
        constant = np.flatnonzero((labels == labels[:1]).all(axis=0))
        if len(constant):
            first = constant[0]
            raise bad_value(
                _TARGETS if config.source == "csv" else "dataset.columns.label",
                f"{names[first]}, which is {labels[0, first]:.9g} in each of the {len(labels):,} "
                "training images",
                "a target with at least two values in train",
                "Leave this target out, or choose other training images. float32 holds seven digits: "
                "subtract an offset from numbers that differ in later ones",
            )


NUMBERS = Numbers()


def _listed(names: Sequence[str]) -> str:
    return f"[{','.join(map(str, names))}]"


def _halves(labels: np.ndarray, depth: int) -> np.ndarray | None:
    """Return the rows of the upper half, ``(n,)`` bool, by the target whose turn it is.

    `None`: no target allows a cut with enough images on both sides.
    """
    count, targets = labels.shape
    if count < 2 * _SMALLEST_GROUP:
        return None
    for turn in range(targets):
        values = labels[:, (depth + turn) % targets]
        middle = np.sort(values)[count // 2]
        # Many equal numbers at the median belong to the side that balances the halves better.
        cuts = (values >= middle, values > middle)
        best = min(cuts, key=lambda upper: abs(2 * int(upper.sum()) - count))
        if _SMALLEST_GROUP <= best.sum() <= count - _SMALLEST_GROUP:
            return best
    return None


def _numbers(table: Table, column: str) -> np.ndarray:
    """Return the cells of a column, ``(N,)`` float32.

    Raises:
        UserError: cells are empty, text, NaN, infinite or too large for float32.
    """
    cells = table.column(column)
    values = np.array([_number(cell) for cell in cells], np.float64)
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float32) + np.float32(0)  # -0.0 becomes 0.0
    wrong = np.flatnonzero(~np.isfinite(numbers)).tolist()
    if wrong:
        first = repr(cells[wrong[0]]) if cells[wrong[0]] else "nothing"
        raise bad_value(
            _KEY,
            f"{table.path}, column {column}: {first}{' and others' * (len(wrong) > 1)} in "
            f"{table.at(wrong)}",
            "a finite number in each row, such as 31.5",
            f"Correct these cells or remove the rows, or set {_TARGETS}=[…] to other columns",
        )
    return numbers


def _number(cell: str) -> float:
    """Return the number in a cell, or NaN. Python's ``1_000`` is text here."""
    try:
        return math.nan if "_" in cell else float(cell)
    except ValueError:
        return math.nan
