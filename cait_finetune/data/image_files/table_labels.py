"""Read the labels of a table: one per cell, several per cell, or a column of zeros and ones per class."""

from __future__ import annotations

import logging
from collections.abc import Iterable

import numpy as np

from cait_finetune.config import DatasetConfig
from cait_finetune.data.image_files.class_list import class_list, in_order, outside, some
from cait_finetune.data.image_files.spreadsheet import Table
from cait_finetune.errors import bad_value

logger = logging.getLogger(__name__)

_KEY = "dataset.data_dir"
_LABEL = ("label", "class", "category", "labels", "target")
#: Signs that separate labels in other tables. A bracket begins a list.
_SEPARATORS = (",", ";", "|", "[")
_ZERO_ONE = {"0": 0.0, "1": 1.0, "0.0": 0.0, "1.0": 1.0}


def one_label(config: DatasetConfig, table: Table) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the class names, and the label of each row, ``(N,)`` int32.

    Raises:
        UserError: ``dataset.columns.classes`` is set, the label column is missing, a cell is empty or
            has a label that is not in the class list; or as `class_list`.
    """
    if config.columns.classes:
        raise bad_value(
            "dataset.columns.classes",
            "a list with dataset.multi_label=false",
            "null: a single label is in one column",
            "add dataset.multi_label=true if an image may have several",
        )
    column = label_column(config, table)
    cells = table.column(column)
    empty = [row for row, cell in enumerate(cells) if not cell]
    if empty:
        raise bad_value(
            _KEY, f"{table.path}, column {column}: no label in {table.at(empty)}", "one in each row"
        )
    names = class_list(config, in_order(set(cells)), f"column {column} of {table.path}")
    separator = config.columns.separator
    if joined := [name for name in names if separator in name]:
        logger.warning(
            "classes whose names hold %r: %s; set dataset.multi_label=true if they are several labels",
            separator, some(joined),
        )  # fmt: skip
    number = {name: label for label, name in enumerate(names)}
    _check_known(table, ((row, cell) for row, cell in enumerate(cells)), number)
    return names, np.array([number[cell] for cell in cells], np.int32)


def several_labels(config: DatasetConfig, table: Table) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the class names, and the labels of each row, ``(N, C)`` float32 of zeros and ones.

    Raises:
        UserError: configured keys contradict each other; a column is missing or has invalid cells; a
            label is not in the class list; no row has a label; the separator of the labels also
            separates the columns; or as `class_list`.
    """
    if config.columns.classes:
        return _zeros_and_ones(config, table)
    separator = config.columns.separator
    if table.delimiter == separator:
        raise bad_value(
            "dataset.columns.separator",
            f"{separator!r}, which also divides the columns of {table.path}",
            "another separator between the labels of an image",
        )
    column = label_column(config, table)
    cells = [
        [label for label in (part.strip() for part in cell.split(separator)) if label]
        for cell in table.column(column)
    ]
    found = {label for cell in cells for label in cell}
    names = class_list(config, in_order(found), f"column {column} of {table.path}")
    if not names:
        raise bad_value(_KEY, f"{table.path}, column {column}: no label at all", "labels")
    _warn_of_separators(names)
    number = {name: label for label, name in enumerate(names)}
    _check_known(table, ((row, label) for row, cell in enumerate(cells) for label in cell), number)
    labels = np.zeros((len(cells), len(names)), np.float32)
    for row, cell in enumerate(cells):
        labels[row, [number[label] for label in cell]] = 1.0
    return names, labels


def _warn_of_separators(names: Iterable[str]) -> None:
    """Warn if labels hold other signs that separate labels in other tables."""
    signs = [sign for sign in _SEPARATORS if any(sign in name for name in names)]
    if signs:
        shown = some([name for name in names if any(sign in name for sign in signs)])
        logger.warning(
            "classes whose names hold %s: %s; set dataset.columns.separator if they are several labels",
            " and ".join(map(repr, signs)), shown,
        )  # fmt: skip


def _zeros_and_ones(config: DatasetConfig, table: Table) -> tuple[tuple[str, ...], np.ndarray]:
    key, columns = "dataset.columns.classes", config.columns.classes
    if config.columns.label:
        raise bad_value(
            key, f"a list beside dataset.columns.label={config.columns.label}", "one of the two"
        )
    for column in columns:
        table.find(key, column, ())
    if config.class_names and set(config.class_names) != set(columns):
        raise bad_value(
            "dataset.class_names", some(config.class_names), f"those of {key}: {some(columns)}"
        )
    names = class_list(config, columns, f"{table.path}, by {key},")
    labels = np.zeros((len(table.rows), len(names)), np.float32)
    for place, column in enumerate(names):
        cells = table.column(column)
        wrong = [row for row, cell in enumerate(cells) if cell not in _ZERO_ONE]
        if wrong:
            raise bad_value(
                _KEY,
                f"{table.path}, column {column}: {cells[wrong[0]]!r} in {table.at(wrong)}",
                "0 or 1",
            )
        labels[:, place] = [_ZERO_ONE[cell] for cell in cells]
    return names, labels


def label_column(config: DatasetConfig, table: Table) -> str:
    key = "dataset.columns.label"
    column = table.find(key, config.columns.label, _LABEL)
    if column is None:
        raise table.without(key, _LABEL)
    return column


def _check_known(table: Table, found: Iterable[tuple[int, str]], known: dict[str, int]) -> None:
    """Raise UserError if a label is not in the class list."""
    strangers: dict[str, list[int]] = {}
    for row, label in found:
        if label not in known:
            strangers.setdefault(label, []).append(row)
    if strangers:
        places = {label: f" ({table.at(rows)})" for label, rows in strangers.items()}
        raise outside(_KEY, places, list(known))
