"""Find the label column of a table, refuse unknown labels, and warn of images in several rows."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from cait_finetune.config import DatasetConfig
from cait_finetune.data.image_files.class_list import outside, some
from cait_finetune.data.image_files.spreadsheet import Table

if TYPE_CHECKING:
    from cait_finetune.data.image_files.files import Files

logger = logging.getLogger(__name__)

_KEY = "dataset.data_dir"
_SHOWN = 3
_LABEL = ("label", "class", "category", "labels", "target")


def label_column(config: DatasetConfig, table: Table) -> str:
    """Return the name of the label column: the configured or a usual name.

    Raises:
        UserError: the table has no such column.
    """
    key = "dataset.columns.label"
    column = table.find(key, config.columns.label, _LABEL)
    if column is None:
        raise table.without(key, _LABEL)
    return column


def check_known(table: Table, found: Iterable[tuple[int, str]], known: dict[str, int]) -> None:
    """Raise UserError if a label is not in the class list."""
    strangers: dict[str, list[int]] = {}
    for row, label in found:
        if label not in known:
            strangers.setdefault(label, []).append(row)
    if strangers:
        places = {label: f" ({table.at(rows)})" for label, rows in strangers.items()}
        raise outside(_KEY, places, list(known))


def warn_of_joined(config: DatasetConfig, names: Sequence[str], task: str) -> None:
    """Warn of class names that hold the separator, which divides labels with `task`."""
    separator = config.columns.separator
    if joined := [name for name in names if separator in name]:
        logger.warning(
            "classes whose names hold %r: %s; set task=%s if they are several labels",
            separator, some(joined), task,
        )  # fmt: skip


def warn_of_repeated(table: Table, files: Files, repeated: Sequence[Sequence[int]]) -> None:
    """Warn of images that several rows list with equal labels."""
    shown = ", ".join(f"{files.ids[rows[0]]} ({table.at(rows)})" for rows in repeated[:_SHOWN])
    logger.warning(
        "%s lists %s more than once: %s%s",
        table.path,
        "1 image" if len(repeated) == 1 else f"{len(repeated):,} images",
        shown,
        ", …" if len(repeated) > _SHOWN else "",
    )
