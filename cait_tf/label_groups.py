"""The columns of a head that answers several labels: one group of classes for each label.

A column's name is ``label=class``, such as ``colour=red``. The names alone state the groups, so that
every file that names its columns also states which of them belong together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cait_tf.errors import CaiTError

#: The sign between label and class. A label may not contain it; a class may.
SIGN = "="


@dataclass(frozen=True)
class LabelGroup:
    """The columns of one label.

    Attributes:
        name: the label.
        start: its first column.
        classes: names of its classes, in column order.
    """

    name: str
    start: int
    classes: tuple[str, ...]

    @property
    def columns(self) -> slice:
        """The label's columns."""
        return slice(self.start, self.start + len(self.classes))

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of the label's columns, ``label=class``."""
        return tuple(column_name(self.name, one) for one in self.classes)


def column_name(label: str, one: str) -> str:
    """Return the name of a class's column."""
    return f"{label}{SIGN}{one}"


def label_groups(names: Sequence[str]) -> tuple[LabelGroup, ...]:
    """Return the groups of columns with these names, in column order.

    Raises:
        CaiTError: a name has no sign between label and class, or a label's columns are not together.
    """
    groups: list[tuple[str, int, list[str]]] = []
    for column, name in enumerate(names):
        label, sign, one = name.partition(SIGN)
        if not sign:
            raise CaiTError(f"class_names: got {name}, expected label=class in each name")
        if not groups or groups[-1][0] != label:
            groups.append((label, column, []))
        groups[-1][2].append(one)
    labels = [label for label, _, _ in groups]
    if apart := [label for label in labels if labels.count(label) > 1]:
        raise CaiTError(
            f"class_names: got columns of {apart[0]} in two places, expected all of a label together"
        )
    return tuple(LabelGroup(label, start, tuple(classes)) for label, start, classes in groups)
