"""Labels of images with one class for each of several labels, such as a species and a colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from cait_finetune.config import DatasetConfig
from cait_finetune.data.image_files.class_list import in_order, some
from cait_finetune.data.image_files.spreadsheet import Table
from cait_finetune.data.image_files.table_labels import warn_of_joined, warn_of_repeated
from cait_finetune.data.targets.any_classes import ANY_CLASSES
from cait_finetune.data.targets.target import Target
from cait_finetune.errors import bad_value
from cait_tf.label_groups import SIGN, LabelGroup, column_name, label_groups

if TYPE_CHECKING:
    import tensorflow_datasets as tfds

    from cait_finetune.data.image_files.files import Files
    from cait_finetune.data.label_index import LabelIndex

KEY = "dataset.columns.labels"
_SHOWN = 3
#: Smallest number of images of a combination of classes that is a stratum of its own.
_SMALLEST_GROUP = 10


@dataclass(frozen=True)
class SeveralLabels(Target):
    """Whether the image has each class of each label: ``(C,)`` float32 of zeros and ones.

    Each label has one class, or none where the label is missing. The class names of a source are
    ``label=class``, and the classes of a label are adjacent columns (`label_groups`).

    Attributes:
        groups: the labels and their columns. Empty: not read yet.
    """

    groups: tuple[LabelGroup, ...] = ()

    words = "several labels of one class each"
    task = "several"
    dtype = tf.float32
    in_folders = False
    weighable = True
    stratified = True
    stratum = "combination of classes"
    one_list = False

    @property
    def needs_each_class(self) -> bool:
        """As `Target.needs_each_class`: true with one label, as in classification.

        With several labels, images are divided by combination of classes, so train may lack a rare class.
        """
        return len(self.groups) == 1

    def named(self, class_names: Sequence[str]) -> SeveralLabels:
        """As `Target.named`."""
        return SeveralLabels(label_groups(class_names))

    def shape(self, classes: int) -> tuple[int, ...]:
        """As `Target.shape`."""
        return (classes,)

    def class_numbers(self, label: np.ndarray) -> list[int]:
        """As `Target.class_numbers`."""
        return np.flatnonzero(label > 0.5).tolist()

    def weighted(self, label: tf.Tensor, weight: tf.Tensor, classes: int) -> tf.Tensor:
        """As `Target.weighted`."""
        return label * weight

    def class_counts(self, labels: np.ndarray, classes: int) -> np.ndarray:
        """As `Target.class_counts`."""
        return labels.sum(axis=0).astype("int64")

    def columns(self, labels: np.ndarray) -> Sequence[np.ndarray]:
        """As `Target.columns`: the class of each label, -1 where it is missing."""
        return list(self._classes(labels).T)

    def strangers(self, labels: np.ndarray, classes: int) -> np.ndarray:
        """As `Target.strangers`: none, because each column is a class of the list."""
        return np.zeros(0, np.int64)

    def unlabelled(self, labels: np.ndarray) -> np.ndarray:
        """As `Target.unlabelled`: the rows that have none of the labels."""
        return np.flatnonzero(~labels.any(axis=1))

    def strata(self, labels: np.ndarray) -> np.ndarray:
        """As `Target.strata`: one group for each combination of classes.

        Images of a combination with fewer than 10 images are grouped by the class of the first label.
        One label without missing values has a group for each class, as in classification.
        """
        classes = self._classes(labels)  # (N, L)
        if classes.shape[1] == 1 and (classes >= 0).all():
            return classes[:, 0]
        _, number, counts = np.unique(classes, axis=0, return_inverse=True, return_counts=True)
        number = number.reshape(-1)
        rare = counts[number] < _SMALLEST_GROUP
        groups = np.where(rare, len(counts) + 1 + classes[:, 0], number)
        return np.unique(groups, return_inverse=True)[1].reshape(-1)

    def is_label(self, feature: tfds.features.FeatureConnector) -> bool:
        """As `Target.is_label`: a `ClassLabel`. `dataset.columns.labels` lists several of them."""
        import tensorflow_datasets as tfds

        return isinstance(feature, tfds.features.ClassLabel)

    def stored(self, label: Mapping[str, Any]) -> tf.Tensor:
        """As `Target.stored`: ``(L,)`` int64, the class of each label."""
        return tf.stack([tf.cast(one, tf.int64) for one in label.values()])

    def tensor(
        self, label: Mapping[str, Any], classes: int, numbers: Sequence[int] | None
    ) -> tf.Tensor:
        """As `Target.tensor`. A negative number is a missing label."""
        pairs = zip(self.groups, label.values(), strict=True)
        parts = [tf.one_hot(tf.cast(one, tf.int32), len(group.classes)) for group, one in pairs]
        columns = tf.concat(parts, axis=0)  # (C,)
        if numbers is None:
            return columns
        return tf.ensure_shape(tf.gather(columns, np.argsort(numbers)), columns.shape)

    def array(self, index: LabelIndex, classes: int) -> np.ndarray:
        """As `Target.array`: ``(N, C)`` float32."""
        labels = np.zeros((len(index), classes), np.float32)
        stored = index.labels.reshape(len(index), len(self.groups))
        for group, column in zip(self.groups, stored.T, strict=True):
            known = np.flatnonzero((column >= 0) & (column < len(group.classes)))
            labels[known, group.start + column[known]] = 1.0
        return labels

    def index_strangers(self, index: LabelIndex, classes: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Target.index_strangers`: numbers beyond the last class of their label."""
        stored = index.labels.reshape(len(index), len(self.groups))
        sizes = np.array([len(group.classes) for group in self.groups])
        rows, columns = np.nonzero(stored >= sizes)
        return rows, stored[rows, columns]

    def described(self, class_names: Sequence[str]) -> str:
        """As `Target.described`: the labels with their numbers of classes."""
        return ", ".join(
            f"{group.name} of {len(group.classes):,} classes" for group in label_groups(class_names)
        )

    def table_columns(self, config: DatasetConfig, table: Table) -> list[str]:
        """As `Target.table_columns`."""
        return list(config.columns.labels or ())

    def check_config(self, config: DatasetConfig) -> None:
        """As `Target.check_config`: refuse keys that need one label for each image."""
        columns = config.columns
        if not columns.labels:
            raise bad_value(
                KEY,
                f"{'nothing' if columns.labels is None else '[]'} with task={self.task}",
                "the columns of a table, or the features of a TFDS set, that hold the labels",
                f"Add '{KEY}=[species,colour]'.",
            )
        signs = [name for name in columns.labels if SIGN in name]
        refused = (
            (KEY, bool(signs), signs[:1], f"names without {SIGN!r}, which stands between label and class",
             "Rename the column."),
            ("dataset.columns.label", columns.label is not None, columns.label,
             f"null beside {KEY}", f"Add {columns.label} to {KEY} if it is a label."),
            ("dataset.columns.classes", bool(columns.classes), columns.classes,
             "null: each label has a column of its own", f"Set {KEY} alone."),
            ("dataset.columns.targets", bool(columns.targets), columns.targets,
             "null: targets are numbers", "Set task=regression to train on numbers."),
            ("dataset.class_names", bool(config.class_names), config.class_names,
             "null: each column names its classes", "Leave the key out."),
            ("dataset.sampling", config.sampling == "balanced", config.sampling,
             "all, because an image can have a rare and a frequent class",
             "Weigh the classes in the loss instead: loss.class_weights=balanced"),
            ("dataset.examples_per_class", config.examples_per_class is not None,
             config.examples_per_class, "null: an image counts for a class of each label",
             "Set dataset.train_share=0.1 to train on 10 % of the images."),
        )  # fmt: skip
        for key, is_set, value, expected, hint in refused:
            if is_set:
                shown = f"[{','.join(map(str, value))}]" if isinstance(value, list) else value
                raise bad_value(key, f"{shown} with task={self.task}", expected, hint)

    def check_train(self, labels: np.ndarray, names: Sequence[str], config: DatasetConfig) -> None:
        """As `Target.check_train`: refuse a label that has one class in all training images."""
        for group in label_groups(names):
            found = np.flatnonzero(labels[:, group.columns].sum(axis=0))
            if len(found) < 2:
                got = f"the one class {group.classes[found[0]]}" if len(found) else "no class"
                raise bad_value(
                    KEY,
                    f"{group.name}, which has {got} in train",
                    "two classes or more of each label in train",
                    "Leave this label out, or choose other training images",
                )

    def read_table(self, config: DatasetConfig, table: Table) -> tuple[tuple[str, ...], np.ndarray]:
        """As `Target.read_table`: labels ``(N, C)`` float32. An empty cell is a missing label.

        Raises:
            UserError: a column is missing, a label has fewer than two classes, or a row has no label.
        """
        columns = config.columns.labels or ()
        names: list[str] = []
        parts = []
        for column in columns:
            table.find(KEY, column, ())
            cells = table.column(column)
            classes = in_order({cell for cell in cells if cell})
            if len(classes) < 2:
                got = f"the one class {classes[0]}" if classes else "no class"
                raise bad_value(
                    KEY,
                    f"column {column} of {table.path} with {got}",
                    "two classes or more in each column",
                    "Leave this column out",
                )
            number = {name: place for place, name in enumerate(classes)}
            found = np.array([number.get(cell, -1) for cell in cells])
            part = np.zeros((len(cells), len(classes)), np.float32)
            rows = np.flatnonzero(found >= 0)
            part[rows, found[rows]] = 1.0
            parts.append(part)
            names += [column_name(column, name) for name in classes]
        warn_of_joined(config, names, ANY_CLASSES.task)
        labels = np.concatenate(parts, axis=1)
        table.refuse(
            columns,
            np.flatnonzero(labels.sum(axis=1) == 0).tolist(),
            "no label at all",
            "a label in one of these columns of each row",
        )
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
        wrong = [rows for rows in repeated if (files.labels[rows] != files.labels[rows[0]]).any()]
        if wrong:
            shown = [
                f"{files.ids[rows[0]]} is "
                + ", ".join(
                    f"{' '.join(self.label_texts(files.labels[row], names))} ({table.at([row])})"
                    for row in rows[:_SHOWN]
                )
                for rows in wrong
            ]
            raise bad_value(
                "dataset.data_dir",
                f"{table.path} with different labels of an image: {some(shown)}",
                "the same cells in all rows of an image, also the empty ones",
                "Write all labels of an image in one row, and remove its other rows",
            )
        if repeated:
            warn_of_repeated(table, files, repeated)
        missing = [
            f"{group.name} {int(count):,}"
            for group in label_groups(names)
            if (count := (files.labels[:, group.columns].sum(axis=1) == 0).sum())
        ]
        notes = (f"labels images without a label: {', '.join(missing)}",) if missing else ()
        return np.arange(len(files)), notes

    def _classes(self, labels: np.ndarray) -> np.ndarray:
        """Return the class of each label ``(N, L)`` int, -1 where it is missing."""
        parts = [labels[:, group.columns] for group in self.groups] or [labels]
        return np.stack(
            [np.where(part.any(axis=1), part.argmax(axis=1), -1) for part in parts], axis=1
        )


SEVERAL_LABELS = SeveralLabels()
