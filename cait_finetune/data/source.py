"""What every reader of images gives: the classes, three splits, and undecoded examples in order."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import tensorflow as tf

SPLITS = ("train", "validation", "test")

#: For each new split, which rows of which old ones make it up.
Selection = Mapping[str, Sequence[tuple[str, np.ndarray]]]


@dataclasses.dataclass(frozen=True)
class Source(abc.ABC):
    """A data set that is ready to be read.

    ``sizes`` maps train, validation and test to their numbers of examples; ``class_names`` is in
    label order. With `multi_label` an example has any number of classes. ``weighted`` ones carry how
    much they count in the training loss. ``notes`` is what a user should know of how it was read,
    ``unreadable`` the ids of files that were left out as no image can be in them, ``left_out`` how many
    of them belong to each split.
    """

    class_names: tuple[str, ...]
    sizes: Mapping[str, int]
    multi_label: bool = False
    weighted: bool = False
    notes: tuple[str, ...] = ()
    unreadable: tuple[str, ...] = ()
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)

    #: How `content_hashes` are computed: hashes of two kinds cannot be compared.
    hash_kind: ClassVar[str] = ""
    #: Whether a record is a few bytes, so that a shuffle may hold all of them at once.
    light_records = False
    #: The splits that are slices of one split of the set, which nobody configured.
    default_slices: ClassVar[tuple[str, ...]] = ()
    #: Of each split what it is of the set, where the set has splits that can be sliced.
    splits: ClassVar[Mapping[str, str]] = {}

    @abc.abstractmethod
    def records(self, split: str) -> tf.data.Dataset:
        """What `read` makes an example of, for each example of a split, in file order.

        Each is a dictionary with ``id`` and ``label``, () int32 or with several labels (C,) float32
        of zeros and ones; and ``weight``, () float32, where there are weights.
        """

    @abc.abstractmethod
    def read(self, record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The record with ``image``, the bytes of its file. Runs inside tf.data."""

    @tf.autograph.experimental.do_not_convert
    def examples(self, split: str) -> tf.data.Dataset:
        """Undecoded examples of a split, in file order: ``id``, ``image`` bytes, ``label``."""
        return self.records(split).map(self.read)

    @abc.abstractmethod
    def labels(self, split: str) -> np.ndarray:
        """The labels of a split in file order, ``(N,)`` int32, or ``(N, C)`` float32."""

    @abc.abstractmethod
    def ids(self, split: str) -> np.ndarray:
        """The ids of a split's examples in file order, ``(N,)`` str; without reading an image.

        An id names the same image on every machine: it holds no absolute path.
        """

    def weights(self, split: str) -> np.ndarray | None:
        """How much each example of a split counts in the training loss, ``(N,)`` float32; or None."""
        return None

    @abc.abstractmethod
    def content_hashes(self, split: str) -> np.ndarray | None:
        """Hashes of the bytes of a split's images, ``(N,)`` int64, in file order; `None`: unknown."""

    @abc.abstractmethod
    def select(self, selection: Selection) -> Source:
        """The same images in other splits, of which each is made up of rows of the present ones."""

    @abc.abstractmethod
    def in_order(self, class_names: Sequence[str]) -> Source:
        """Return the same images with the labels numbered as in `class_names`.

        Raises:
            ValueError: `class_names` is no permutation of this source's names.
        """

    @abc.abstractmethod
    def stamp(self, split: str) -> dict[str, Any]:
        """What a split's pixels depend on on this machine: paths, sizes and times, for caches."""

    def split_names(self) -> tuple[str, ...]:
        """Return the splits that the set has, for messages; none where they have no names."""
        return ()

    def strangers(self, split: str) -> tuple[np.ndarray, np.ndarray]:
        """Return labels of a split outside the class list: their rows ``(K,)`` and values ``(K,)``.

        An example with several such labels has several rows.
        """
        if self.multi_label:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        labels = self.labels(split)
        rows = np.flatnonzero((labels < 0) | (labels >= len(self.class_names)))
        return rows, labels[rows]

    def class_counts(self, split: str) -> np.ndarray:
        """How many examples each class has, ``(C,)``."""
        labels = self.labels(split)
        if self.multi_label:
            return labels.sum(axis=0).astype("int64")
        return np.bincount(labels, minlength=len(self.class_names))


def new_numbers(ours: Sequence[str], wanted: Sequence[str]) -> np.ndarray:
    """Map each label of `ours` to its number in `wanted`, ``(C,)`` int32.

    Raises:
        ValueError: `wanted` is no permutation of `ours`.
    """
    if sorted(ours) != sorted(wanted) or len(set(ours)) != len(ours):
        raise ValueError(f"classes {list(wanted)} are not {list(ours)} in another order")
    number = {name: number for number, name in enumerate(wanted)}
    return np.array([number[name] for name in ours], np.int32)


def renumbered(labels: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Replace each label k of ``(N,)`` int32, or ``(N, C)`` float32, by ``numbers[k]``.

    Labels outside the class list stay as they are.
    """
    if labels.ndim == 2:
        return labels[:, np.argsort(numbers)]
    known = (labels >= 0) & (labels < len(numbers))
    return np.where(known, numbers[np.where(known, labels, 0)], labels).astype(labels.dtype)
