"""Declare a key of the configuration: its meaning, its default and its allowed values, in one place.

``--help``, ``.github/docs/KEYS.md`` and the checks of values read the same declaration.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from omegaconf import MISSING

from cait_finetune.config.checks import one_of, within


@dataclasses.dataclass(frozen=True)
class Declared:
    """What a key means and which values it takes.

    Attributes:
        meaning: a few sentences.
        low: the smallest number. `None`: no number, or any number.
        high: the largest number.
        open_high: whether `high` itself is excluded.
        choices: the allowed texts. Empty: any text.
        takes: the values of a key with type `Any`, in words. Empty: the type states the values.
    """

    meaning: str
    low: float | None = None
    high: float = math.inf
    open_high: bool = False
    choices: tuple[str, ...] = ()
    takes: str = ""


def key(
    meaning: str,
    default: Any = MISSING,
    *,
    low: float | None = None,
    high: float = math.inf,
    open_high: bool = False,
    choices: tuple[str, ...] = (),
    takes: str = "",
) -> Any:
    """Return the dataclass field of a key.

    Args:
        default: the default value. `MISSING`: a file in ``conf/`` sets the key.

    `Declared` documents the other arguments.
    """
    metadata = {"declared": Declared(meaning, low, high, open_high, choices, takes)}
    if isinstance(default, list):
        return dataclasses.field(default_factory=lambda: list(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def declared(field: dataclasses.Field[Any]) -> Declared | None:
    """Return the declaration of a field. `None`: the field holds a group of keys."""
    return field.metadata.get("declared")


def check_keys(group: Any, name: str) -> None:
    """Check each value of a group against its declaration. `None` is allowed everywhere.

    Args:
        group: an object of a dataclass whose fields `key` made.
        name: name of the group, such as ``optimizer``. Empty: the keys have no prefix.

    Raises:
        UserError: a value is outside its range, or is not one of its choices.
    """
    for field in dataclasses.fields(group):
        rule, value = declared(field), getattr(group, field.name)
        if rule is None or value is None:
            continue
        path = f"{name}.{field.name}" if name else field.name
        for one in value if isinstance(value, list) else [value]:
            if rule.choices:
                one_of(path, one, rule.choices)
            elif rule.low is not None:
                within(path, one, rule.low, rule.high, open_high=rule.open_high)
