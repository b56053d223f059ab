"""Compare the class names of two heads, and find columns by name."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import overload

import numpy as np

from cait_tf import imagenet
from cait_tf.errors import WeightsError

_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class ClassMatch:
    """The class lists of the weights (``theirs``) and the model (``ours``), each in column order.

    ImageNet-1k's synsets and WordNet's words for them count as the same classes.
    """

    theirs: tuple[str, ...]
    ours: tuple[str, ...]

    @cached_property
    def columns(self) -> np.ndarray:
        """The column in ``theirs`` of each class in ``ours``, ``(C,)`` int. -1: no column.

        A name that occurs several times in one of the lists gets -1, because its columns are
        ambiguous. Two equal lists match column by column.
        """
        theirs, ours = _canonical(self.theirs), _canonical(self.ours)
        if theirs == ours:
            return np.arange(len(ours))
        unclear = {*_repeated(theirs), *_repeated(ours)}
        place = {name: column for column, name in enumerate(theirs) if name not in unclear}
        return np.array([place.get(name, -1) for name in ours], int)

    @property
    def complete(self) -> bool:
        """Whether both lists have the same classes, in any order."""
        return len(self.theirs) == len(self.ours) and bool((self.columns >= 0).all())

    @property
    def in_order(self) -> bool:
        """Whether both lists have the same classes in the same order."""
        return self.complete and bool((self.columns == np.arange(len(self.ours))).all())

    @property
    def kept(self) -> list[str]:
        """The classes of ``ours`` that have a column in ``theirs``."""
        return [name for name, column in zip(self.ours, self.columns, strict=True) if column >= 0]

    @property
    def new(self) -> list[str]:
        """The classes that are only in ``ours``."""
        lacking = zip(self.ours, self.columns, strict=True)
        return [name for name, column in lacking if column < 0 and name not in self.repeated]

    @cached_property
    def repeated(self) -> list[str]:
        """The names that are in both lists, and several times in one list. They match no column."""
        theirs = set(_canonical(self.theirs))
        named = zip(self.ours, _canonical(self.ours), self.columns, strict=True)
        return list(dict.fromkeys(one for one, name, at in named if at < 0 and name in theirs))

    @property
    def gone(self) -> list[str]:
        """The classes that are only in ``theirs``."""
        used = set(self.columns.tolist())
        return [
            name
            for column, name in enumerate(self.theirs)
            if column not in used and name not in self.repeated
        ]

    def differences(self) -> str:
        """Return ``gone: ant; new: zebra``, or ``""`` if both lists have the same classes."""
        gone, new = ({_looks(name) for name in names} for names in (self.gone, self.new))

        def shown(name: str) -> str:
            """Return the name, escaped if it is not printable or if names look the same."""
            return ascii(name) if gone & new or not name.isprintable() else name

        parts = (
            ("gone", self.gone),
            ("new", self.new),
            ("the name of several columns", self.repeated),
        )
        return "; ".join(
            f"{word}: {some([shown(name) for name in names])}" for word, names in parts if names
        )


@overload
def match_classes(theirs: Sequence[str], ours: Sequence[str]) -> ClassMatch: ...


@overload
def match_classes(
    theirs: Sequence[str] | None, ours: Sequence[str], columns: int | None = None
) -> ClassMatch | None: ...


def match_classes(
    theirs: Sequence[str] | None, ours: Sequence[str], columns: int | None = None
) -> ClassMatch | None:
    """Compare the class list of some weights with the model's. All commands use this function.

    Args:
        theirs: class names of the weights, in column order. `None`: the weights name no classes,
            like published weights. The function then assumes ImageNet-1k's classes in published
            order, if `ours` are ImageNet-1k's classes and `columns` is 1000.
        ours: class names of the model, in column order.
        columns: number of columns in the weights' head. `None`: not known.

    Returns:
        `None`: the classes of the weights are not known, or their number differs from `columns`.
    """
    if theirs is None:
        known = imagenet.synsets()
        if columns != len(known) or set(_canonical(ours)) != set(known):
            return None
        theirs = known
    if columns is not None and columns != len(theirs):
        return None
    return ClassMatch(tuple(theirs), tuple(ours))


def check_same_columns(theirs: Sequence[str] | None, ours: Sequence[str]) -> None:
    """Check that a head's columns can be copied as they are.

    Raises:
        WeightsError: the weights name no classes, other classes, or the classes in another order.
    """
    if theirs is None:
        raise WeightsError(
            f"weights: got a file that names no classes, expected those of the model: {some(ours)}\n"
            "  If its columns are these, write cait_tf.load_weights(model, FILE, source_names=[…])."
        )
    match = match_classes(theirs, ours)
    if not match.in_order:
        raise WeightsError(
            f"weights: got a file of other columns: {match.differences() or some(theirs)}; expected "
            f"{some(ours)}\n  cait_tf.load_weights(model, FILE) matches columns by class name."
        )


def repeated_names(names: Sequence[str]) -> list[str]:
    """Return the names that occur several times. ImageNet-1k's two cranes count as different."""
    return _repeated(_canonical(names))


def some(names: Sequence[str]) -> str:
    """Return the first few names as text, with the number of all names if there are more."""
    shown = ", ".join(names[:_SHOWN])
    return f"{shown}, … ({len(names):,} in all)" if len(names) > _SHOWN else shown


def _looks(name: str) -> str:
    """Normalise a name to its appearance: NFKC, single spaces, no invisible characters."""
    plain = unicodedata.normalize("NFKC", name)
    return " ".join("".join(one for one in plain if unicodedata.category(one) != "Cf").split())


def _repeated(names: Sequence[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _canonical(names: Sequence[str]) -> tuple[str, ...]:
    """Replace ImageNet-1k's words by its synsets, because two of its classes are called crane."""
    names = tuple(names)
    return imagenet.synsets() if names == imagenet.class_names() else names
