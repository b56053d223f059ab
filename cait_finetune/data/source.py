"""The interface of all image readers: classes, three splits, and undecoded examples in order."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

from cait_finetune.data.targets.one_class import ONE_CLASS
from cait_finetune.data.targets.target import Target

SPLITS = ("train", "validation", "test")

#: Maps each new split to the pairs (old split, rows of the old split) that it consists of.
Selection = Mapping[str, Sequence[tuple[str, np.ndarray]]]


@dataclasses.dataclass(frozen=True)
class Source(abc.ABC):
    """A data set that is ready to be read.

    Attributes:
        class_names: names of the classes, in label order. With numbers: the names of the targets.
        sizes: number of examples in train, validation and test.
        target: the kind of label.
        weighted: whether an example has a weight in the training loss.
        notes: lines that tell the user how the set was read.
        unreadable: ids of files that were left out because they cannot contain an image.
        left_out: number of these files in each split.
    """

    class_names: tuple[str, ...]
    sizes: Mapping[str, int]
    target: Target = ONE_CLASS
    weighted: bool = False
    notes: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)

    #: The splits that were made by dividing images by `dataset.splits.shares`.
    divided: tuple[str, ...] = ()

    #: The kind of `content_hashes`. Hashes of two kinds cannot be compared.
    hash_kind: str = ""
    #: Whether a record has only a few bytes, so that a shuffle buffer can hold all records.
    light_records = False
    #: The splits that are slices of one split of the set by default. Empty: none, or configured.
    default_slices: ClassVar[tuple[str, ...]] = ()
    #: TFDS expression of each split, such as ``train[:90%]``. Empty: the set has no such splits.
    splits: ClassVar[Mapping[str, str]] = {}

    def describe(self, name: str) -> list[str]:
        """Return lines for the user: classes and sizes of the set called `name`, then the notes."""
        sizes = ", ".join(f"{size:,} {split}" for split, size in self.sizes.items())
        return [f"data   {name}: {self.target.described(self.class_names)}, {sizes}", *self.notes]

    @abc.abstractmethod
    def records(self, split: str) -> tf.data.Dataset:
        """Return the records of a split in file order. `read` turns a record into an example.

        A record is a dictionary. ``id`` is a () string. `target` determines shape and type of
        ``label``. A weighted source also has ``weight``, () float32.
        """

    @abc.abstractmethod
    def read(self, record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Add ``image``, the bytes of the image's file, to a record. Runs inside tf.data."""

    @tf.autograph.experimental.do_not_convert
    def examples(self, split: str) -> tf.data.Dataset:
        """Return the undecoded examples of a split in file order: the records with ``image``."""
        return self.records(split).map(self.read)

    @abc.abstractmethod
    def labels(self, split: str) -> np.ndarray:
        """Return the labels of a split in file order, ``(N, …)``, of the kind `target`."""

    @abc.abstractmethod
    def ids(self, split: str) -> np.ndarray:
        """Return the ids of a split's examples in file order, ``(N,)`` str.

        No image is decoded. An id without an absolute path names the same image on every machine.
        """

    def weights(self, split: str) -> np.ndarray | None:
        """Return each example's training loss weight, ``(N,)`` float32. `None`: no weights."""
        return None

    @abc.abstractmethod
    def content_hashes(self, split: str) -> np.ndarray | None:
        """Return hashes of the images' bytes in file order, ``(N,)`` int64; `None`: unknown."""

    @abc.abstractmethod
    def select(self, selection: Selection) -> Source:
        """Return a source whose splits consist of rows of this source's splits."""

    @abc.abstractmethod
    def in_order(self, class_names: Sequence[str]) -> Source:
        """Return the same images with the labels numbered as in `class_names`.

        Raises:
            ValueError: `class_names` is not a permutation of this source's names.
        """

    @abc.abstractmethod
    def stamp(self, split: str) -> dict[str, Any]:
        """Return facts that determine a split's pixels on this machine, for caches.

        The facts include paths, sizes and times of files.
        """

    def split_names(self) -> tuple[str, ...]:
        """Return the names of the set's splits, for messages; empty if the splits have no names."""
        return ()

    def strangers(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows ``(K,)`` and values ``(K,)`` of a split's labels outside the class list.

        An example with several labels outside the class list occurs several times.
        """
        labels = self.labels(split)
        rows = self.target.strangers(labels, len(self.class_names))
        return rows, labels[rows]

    def class_counts(self, split: str) -> np.ndarray:
        """Return the number of examples of each class, ``(C,)`` int64.

        Raises:
            TypeError: the labels are numbers (`Target.has_classes`).
        """
        return self.target.class_counts(self.labels(split), len(self.class_names))


def new_numbers(ours: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """Map each label of `ours` to its number in `wanted`, ``(C,)`` int32.

    Raises:
        ValueError: `wanted` is not a permutation of `ours`.
    """
    if sorted(ours) != sorted(wanted) or len(set(ours)) != len(ours):
        raise ValueError(f"classes {list(wanted)} are not {list(ours)} in another order")
    number = {name: number for number, name in enumerate(wanted)}
    return np.array([number[name] for name in ours], np.int32)


def renumbered(labels: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Replace label k of ``(N,)`` by ``numbers[k]``, or move column k of ``(N, C)`` to ``numbers[k]``.

    Labels outside the class list stay as they are.
    """
    if labels.ndim == 2:
        return labels[:, np.argsort(numbers)]
    known = (labels >= 0) & (labels < len(numbers))
    return np.where(known, numbers[np.where(known, labels, 0)], labels).astype(labels.dtype)
