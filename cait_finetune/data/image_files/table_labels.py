"""Find the label column of a table, and refuse labels outside the class list."""

from __future__ import annotations

from collections.abc import Iterable

from cait_finetune.config import DatasetConfig
from cait_finetune.data.image_files.class_list import outside
from cait_finetune.data.image_files.spreadsheet import Table

_KEY = "dataset.data_dir"
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
