"""Names and order of the classes, and checks that each class has images."""

from __future__ import annotations

import collections
import logging
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from cait_finetune.config import DatasetConfig
from cait_finetune.errors import UserError, bad_value, suggest

logger = logging.getLogger(__name__)

_KEY = "dataset.data_dir"
_SHOWN = 5
_INTEGER = re.compile(r"[+-]?[0-9]+")


def class_list(
    config: DatasetConfig, found: Sequence[str], what: str, fewest: int = 2
) -> tuple[str, ...]:
    """Return ``dataset.class_names``, or the names `found`, in label order.

    Args:
        found: names in label order, which are used if ``dataset.class_names`` is null.
        what: the folder or column that has the names, for messages.
        fewest: the smallest number of names: 1, or 2.

    Raises:
        UserError: ``dataset.num_classes`` is set to another number, or there are fewer names than
            `fewest`.
    """
    names = tuple(config.class_names or found)
    if config.num_classes not in (None, len(names)):
        raise bad_value(
            "dataset.num_classes", config.num_classes, f"{len(names)}, as {what} has {some(names)}"
        )
    if len(names) < fewest:
        got = f"{what} with {f'the one class {names[0]}' if names else 'no class'}"
        raise bad_value(_KEY, got, "two classes or more")
    return names


def in_order(names: Iterable[str]) -> list[str]:
    """Return class names in the default label order: as numbers if all are integers, else as text."""
    names = list(names)
    if all(_INTEGER.fullmatch(name) for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def warn_of_near_names(names: Sequence[str]) -> None:
    """Warn once if names differ only in case, spaces, dashes, leading or decimal zeros, or Unicode form."""
    by_key = collections.defaultdict(list)
    for name in dict.fromkeys(names):  # two classes of ImageNet are called crane
        visible = (one for one in name if unicodedata.category(one) != "Cf")
        plain = unicodedata.normalize("NFKC", "".join(visible)).casefold()
        plain = re.sub(r"[\s_-]+|(?<!\d)0+(?=\d)|(?<=\d)\.0+$", "", plain)
        if len(plain) > 1 or plain.isdigit():  # classes a and A are two letters
            by_key[plain].append(name)
    near = [group for group in by_key.values() if len(group) > 1]
    if near:
        shown = ", ".join(" and ".join(map(_shown(group), group)) for group in near[:_SHOWN])
        logger.warning(
            "classes whose names differ only in case, spaces, dashes, zeros or Unicode form: %s%s; "
            "give them one name if they are one class",
            shown,
            ", …" if len(near) > _SHOWN else "",
        )


def outside(key: str, strangers: Mapping[str, str], known: Sequence[str]) -> UserError:
    """Return the error for labels that are not in the class list.

    Args:
        key: the configuration key that the message names.
        strangers: for each of these labels, a phrase that says where it occurs.
        known: the class list.
    """
    shown = ", ".join(f"{name!r}{strangers[name]}" for name in list(strangers)[:_SHOWN])
    more = f" and {len(strangers) - _SHOWN} more" if len(strangers) > _SHOWN else ""
    near = (suggest(name, known) for name in strangers)
    return bad_value(
        key,
        f"labels outside the class list: {shown}{more}",
        f"those of dataset.class_names: {some(known)}",
        next(filter(None, near), ""),
    )


def check_classes(
    names: Sequence[str],
    counts: Mapping[str, np.ndarray],
    *,
    needs_each_class: bool = True,
    listed: bool = True,
) -> None:
    """Check that the train split has images of each class; warn of classes that another split lacks.

    Args:
        counts: for each split the number of images of each class, ``(C,)``.
        needs_each_class: false: a class without images in train gets a warning only.
        listed: the class list comes from the user's folders, table or configuration. For other
            lists, such as that of a TFDS set, a class without any image gets a warning only.

    Raises:
        UserError: a class of a `listed` class list has no image in any split; or a class has images in
            another split but none in train, and `needs_each_class` is true.
    """
    total = sum(counts.values())
    if not listed and not total.all():
        logger.warning("no image of %s", some([names[row] for row in np.flatnonzero(total == 0)]))
    for row in np.flatnonzero(counts["train"] == 0):
        others = [split for split in counts if counts[split][row]]
        if not others and not listed:
            continue
        if not others:
            raise bad_value(
                _KEY,
                f"no image of class {names[row]!r}",
                "at least one of each class",
                "add some, or leave it out of the class list",
            )
        if needs_each_class:
            raise bad_value(
                _KEY if listed else "dataset.splits.train",
                f"class {names[row]!r} in {' and '.join(others)} but not in train",
                "images of each class to train on",
                "add some, or leave the class out" if listed else "Set other dataset.splits",
            )
    for split, of_split in counts.items():
        lacking = [names[row] for row in np.flatnonzero((of_split == 0) & (total > 0))]
        if lacking:
            logger.warning("%s has no image of %s", split, some(lacking))


def some(names: Sequence[str]) -> str:
    """Return the first few names; if there are more, also the number of all."""
    shown = ", ".join(names[:_SHOWN])
    return f"{shown}, … ({len(names):,} in all)" if len(names) > _SHOWN else shown


def _shown(group: Sequence[str]) -> Callable[[str], str]:
    """Return `repr`, or `ascii` if some of the names would look the same."""
    look = {unicodedata.normalize("NFC", name) for name in group}
    return repr if len(look) == len(group) else ascii
