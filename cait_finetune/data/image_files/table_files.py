"""Check that the files of a table exist, and find rows that name the same file."""

from __future__ import annotations

import collections
import logging
from collections.abc import Sequence

from cait_finetune.data.image_files import storage
from cait_finetune.data.image_files.class_list import some
from cait_finetune.data.image_files.spreadsheet import Table
from cait_finetune.errors import bad_value

logger = logging.getLogger(__name__)

_KEY = "dataset.data_dir"
_SHOWN = 3


def found_files(table: Table, column: str) -> tuple[list[str], list[str]]:
    """Return the cells of the column, and the paths of their files.

    Raises:
        UserError: a cell is empty, its file does not exist, or TensorFlow cannot read its storage.
    """
    ids = table.column(column)
    table.refuse(column, [row for row, cell in enumerate(ids) if not cell], "no path", "a path")
    folder = storage.parent(table.path)
    paths = [storage.join(folder, cell) for cell in ids]
    remote = [row for row, path in enumerate(paths) if not storage.is_readable(path)]
    if remote:
        got = f"{table.path}, column {column}: {ids[remote[0]]} in {table.at(remote)}"
        storage.check_readable(_KEY, paths[remote[0]], got)
    _check_there(table, ids, paths, folder)
    return ids, paths


def elsewhere(table: Table, paths: Sequence[str]) -> tuple[str, ...]:
    """Return a note if images are not below the table's folder, as with absolute paths of a copied table.

    Args:
        paths: the paths of the images.
    """
    inside = storage.parent(table.path) + "/"
    folders = sorted({storage.parent(path) for path in paths if not path.startswith(inside)})
    if not folders:
        return ()
    count = sum(not path.startswith(inside) for path in paths)
    return (f"table  {count:,} images are outside the folder of the table, in {some(folders)}",)


def listed_twice(
    table: Table, ids: Sequence[str], paths: Sequence[str], parts: Sequence[str]
) -> list[list[int]]:
    """Return the rows of each file that several rows name, even by links or different paths.

    Raises:
        UserError: the rows of a file are in two splits.
    """
    rows_of: dict[str, list[int]] = collections.defaultdict(list)
    for row, path in enumerate(storage.real_paths(paths)):
        rows_of[path].append(row)
    twice = [rows for rows in rows_of.values() if len(rows) > 1]
    for rows in twice:
        of_rows = sorted({parts[row] for row in rows})
        if len(of_rows) > 1:
            raise bad_value(
                _KEY,
                f"{table.path}: {ids[rows[0]]} in {' and '.join(of_rows)} ({table.at(rows)})",
                "each image in one split",
            )
    return twice


def _check_there(table: Table, ids: list[str], paths: list[str], folder: str) -> None:
    """Raise UserError if files are missing. Listing the folders is faster than a check of each file."""
    listed: dict[str, set[str]] = {}
    missing = []
    for row, path in enumerate(paths):
        above, _, name = path.rpartition("/")
        if above not in listed:
            listed[above] = storage.names(above)
        if name not in listed[above] and not storage.exists(path):
            missing.append(row)
    if missing:
        first = ids[missing[0]]
        hint = f"Paths are relative to {folder}"
        if "\\" in first:
            hint += ", with / between folders"
        count = f"1 file ({first})" if len(missing) == 1 else f"{len(missing):,} files ({first}, …)"
        raise bad_value(
            _KEY,
            f"{table.path}: {count} not found, {table.at(missing)}",
            "existing files",
            hint,
        )
