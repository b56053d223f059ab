"""Class names of a head's columns: compared, and columns found by name."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from cait_tf import imagenet

_SHOWN = 5


@dataclasses.dataclass(frozen=True)
class ClassMatch:
    """Two class lists, each in column order: ``theirs`` of the weights, ``ours`` of the model.

    ImageNet-1k's synsets and WordNet's words for them are the same classes.
    """

    theirs: tuple[str, ...]
    ours: tuple[str, ...]

    @cached_property
    def columns(self) -> np.ndarray:
        """The column of ``theirs`` for each of ``ours``, ``(C,)`` int; -1 for a class that lacks one.

        A name that stands several times in either list does not tell its columns apart, and gets -1.
        Two equal lists match column by column.
        """
        theirs, ours = _canonical(self.theirs), _canonical(self.ours)
        if theirs == ours:
            return np.arange(len(ours))
        unclear = {*_repeated(theirs), *_repeated(ours)}
        place = {name: column for column, name in enumerate(theirs) if name not in unclear}
        return np.array([place.get(name, -1) for name in ours], int)

    @property
    def complete(self) -> bool:
        """Whether both lists hold the same classes, in any order."""
        return len(self.theirs) == len(self.ours) and bool((self.columns >= 0).all())

    @property
    def in_order(self) -> bool:
        """Whether both lists hold the same classes in the same order."""
        return self.complete and bool((self.columns == np.arange(len(self.ours))).all())

    @property
    def kept(self) -> list[str]:
        """The classes that both lists hold."""
        return [name for name, column in zip(self.ours, self.columns, strict=True) if column >= 0]

    @property
    def new(self) -> list[str]:
        """The classes that only ``ours`` holds."""
        lacking = zip(self.ours, self.columns, strict=True)
        return [name for name, column in lacking if column < 0 and name not in self.repeated]

    @cached_property
    def repeated(self) -> list[str]:
        """The names in both lists, several times in one of them: no column is matched by such a name."""
        theirs = set(_canonical(self.theirs))
        named = zip(self.ours, _canonical(self.ours), self.columns, strict=True)
        return list(dict.fromkeys(one for one, name, at in named if at < 0 and name in theirs))

    @property
    def gone(self) -> list[str]:
        """The classes that only ``theirs`` holds."""
        used = set(self.columns.tolist())
        return [
            name
            for column, name in enumerate(self.theirs)
            if column not in used and name not in self.repeated
        ]

    def differences(self) -> str:
        """``gone: ant; new: zebra``; an empty string where both hold the same classes."""
        gone, new = ({_looks(name) for name in names} for names in (self.gone, self.new))

        def shown(name: str) -> str:
            """The name; by its code points if another one looks the same."""
            return ascii(name) if gone & new or not name.isprintable() else name

        parts = (
            ("gone", self.gone),
            ("new", self.new),
            ("the name of several columns", self.repeated),
        )
        return "; ".join(
            f"{word}: {some([shown(name) for name in names])}" for word, names in parts if names
        )


def match_classes(
    theirs: Sequence[str] | None, ours: Sequence[str], columns: int | None = None
) -> ClassMatch | None:
    """Compare the class list of some weights with the model's. All commands compare with this.

    Args:
        theirs: `None`: the weights name no classes, as published ones. They are ImageNet-1k's where
            `ours` are and the head has 1000 columns.
        columns: how many columns the weights' head has.

    Returns:
        `None`: the classes of the weights are not known, or their head has another number of them.
    """
    if theirs is None:
        known = imagenet.synsets()
        if columns != len(known) or set(_canonical(ours)) != set(known):
            return None
        theirs = known
    if columns is not None and columns != len(theirs):
        return None
    return ClassMatch(tuple(theirs), tuple(ours))


def repeated_names(names: Sequence[str]) -> list[str]:
    """The names that stand several times in a list, except in ImageNet-1k's own list of words."""
    return _repeated(_canonical(names))


def some(names: Sequence[str]) -> str:
    """The first few names, and how many there are."""
    shown = ", ".join(names[:_SHOWN])
    return f"{shown}, … ({len(names):,} in all)" if len(names) > _SHOWN else shown


def _looks(name: str) -> str:
    """The name as it looks: its Unicode form, spaces around it and invisible characters left out."""
    plain = unicodedata.normalize("NFKC", name)
    return " ".join("".join(one for one in plain if unicodedata.category(one) != "Cf").split())


def _repeated(names: Sequence[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _canonical(names: Sequence[str]) -> tuple[str, ...]:
    """ImageNet-1k's words as its synsets, since two of its classes are called crane."""
    names = tuple(names)
    return imagenet.synsets() if names == imagenet.class_names() else names
