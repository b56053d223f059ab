"""Load images that a CSV file lists with their labels, and optionally their splits and weights."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Container, Sequence

import numpy as np

from cait_finetune.config import DatasetConfig
from cait_finetune.data.image_files import storage
from cait_finetune.data.image_files.assembly import Listing, assembled
from cait_finetune.data.image_files.band_files import channels_advice, of_bands
from cait_finetune.data.image_files.files import Files, FileSource
from cait_finetune.data.image_files.listing import ENDINGS, OUTPUT_MARK
from cait_finetune.data.image_files.splits import planned, usual_split
from cait_finetune.data.image_files.spreadsheet import Table, read_table
from cait_finetune.data.image_files.table_files import elsewhere, found_files, listed_twice
from cait_finetune.data.targets.target import Target
from cait_finetune.errors import bad_value

_KEY = "dataset.data_dir"
_IMAGE = ("path", "image", "file", "filename", "image_path", "filepath")
_SPLIT = ("split", "subset", "partition")
_OTHER_SPLITS = ("is_valid", "is_val", "is_train", "is_test", "valid", "fold", "kfold")
_MOST_SPLITS = 8  # a column with more different values holds no splits


def load_table(config: DatasetConfig, target: Target, bands: bool = False) -> FileSource:
    """Load the images of a CSV file with one row per image. Paths are relative to the file's folder.

    `dataset.columns` names the columns. Otherwise the loader looks for usual names. See `planned` for
    the splits.

    `target` reads the labels, and decides whether several rows of an image are one example.

    Args:
        bands: as in `listing.is_image`.

    Raises:
        UserError: a file or column does not exist; a cell has an invalid value (the message has the
            row numbers); or in the cases of `planned` and `assembled`.
    """
    if config.data_dir is None:
        raise bad_value(_KEY, "nothing", "the CSV file", f"add {_KEY}=FILE.csv")
    table = read_table(storage.located(_KEY, config.data_dir, "file"))
    columns = config.columns
    image = table.find("dataset.columns.image", columns.image, _IMAGE)
    if image is None:
        raise table.without("dataset.columns.image", _IMAGE)
    names, labels = target.read_table(config, table)
    weights = _weights(config, table, target)
    split = table.find("dataset.columns.split", columns.split, _SPLIT)
    parts = _parts(table, split)
    what = f"column {split} of {table.path}" if split else f"{table.path} without a split column"
    plan = planned(config, sorted({*parts} - {""}), what)
    _check_parts(table, parts, plan.parts)

    ids, paths = found_files(table, image)
    if not bands:
        _check_formats(table, ids, paths)
    notes = elsewhere(table, paths)
    twice = listed_twice(table, ids, paths, parts)
    for rows in twice:  # the paths may differ: use those of the first row
        for row in rows:
            ids[row], paths[row] = ids[rows[0]], paths[rows[0]]
    files = Files(np.array(paths, object), np.array(ids, object), labels, weights)
    if config.columns.weight is None and "weight" in table.header and target.weighable:
        notes = (
            *notes,
            "table  the column weight is not used: set dataset.columns.weight=weight to use it",
        )
    used = (image, *target.table_columns(config, table))
    if split is None and (unused := _split_column(table, used)):
        notes = (
            *notes,
            f"table  the column {unused} holds splits and is not used: write train, val and test there "
            f"and set dataset.columns.split={unused} to use it",
        )
    kept, on_labels = target.merge_rows(config, table, files, names, twice)
    listing = Listing(
        files=files.rows(kept),
        parts=np.array([parts[row] for row in kept]),
        plan=plan,
        class_names=names,
        split_file=_split_file(table.path),
        notes=(*notes, *on_labels),
        target=target.named(names),
    )
    source = assembled(config, listing, bands)
    # `write_splits` made these files: their hashes differ from those of the original image files.
    of_program = os.path.exists(f"{os.path.dirname(table.path)}/{OUTPUT_MARK}")
    return dataclasses.replace(source, hash_kind="sha1 of arrays") if of_program else source


def _check_formats(table: Table, ids: Sequence[str], paths: Sequence[str]) -> None:
    """Raise UserError if all files have a format of bands. `inspected` finds single such files."""
    if len(of_bands(paths)) == len(paths):
        raise bad_value(
            _KEY,
            f"{table.path} with {ids[0]}",
            f"images with model.in_channels=3 ({', '.join(ENDINGS)})",
            channels_advice(paths),
        )


def _split_column(table: Table, used: Container[str | None]) -> str | None:
    """Return an unused column that seems to hold splits. `None`: there is none.

    The values of the column are usual names of at least two splits, or ``train`` and a few others.
    Or the column has a name that other libraries use for splits, such as ``is_valid``.
    """
    for name in dict.fromkeys(table.header):
        if name not in used and name.lower() in _OTHER_SPLITS:
            return name
        cells = {cell for cell in table.column(name) if cell}
        splits = {usual_split(cell) for cell in cells} - {None}
        several = len(splits) > 1 or ("train" in splits and len(cells) > 1)
        if name not in used and several and len(cells) <= _MOST_SPLITS:
            return name
    return None


def _split_file(path: str) -> str:
    """Return the path of the table's split file. ``b.csv`` and ``b.tsv`` must not share a file."""
    stem, ending = os.path.splitext(path)
    short = f"{stem}.splits.csv"
    if ending.lower() == ".csv":
        return short
    # Earlier versions used the short name for every ending.
    earlier = storage.exists(short) and not storage.exists(f"{stem}.csv")
    return short if earlier else f"{path}.splits.csv"


def _weights(config: DatasetConfig, table: Table, target: Target) -> np.ndarray | None:
    """Return the loss weight of each row, ``(N,)`` float32. `None`: no weight column is configured."""
    key = "dataset.columns.weight"
    column = config.columns.weight
    if column is None:
        return None
    if not target.weighable:
        raise bad_value(
            key,
            f"{column} with task={target.task}",
            "null there: weights are for images of one class, and for numbers",
        )
    table.find(key, column, ())
    weights, wrong = [], []
    for row, cell in enumerate(table.column(column)):
        try:
            weights.append(float(cell))
        except ValueError:
            weights.append(math.nan)
        if not 0 <= weights[-1] < math.inf:
            wrong.append(row)
    if wrong:
        first = repr(table.column(column)[wrong[0]])
        table.refuse(
            column,
            wrong,
            f"{first}" if len(wrong) == 1 else f"{first} and others",
            "numbers of 0 or more",
        )
    if not any(weights):
        raise bad_value(key, f"{column}, which is 0 in each row", "a number above 0 in some rows")
    return np.array(weights, np.float32)


def _parts(table: Table, split: str | None) -> list[str]:
    """Return the split cell of each row. All are empty if the column is missing or empty."""
    parts = table.column(split) if split else [""] * len(table.rows)
    if any(parts):
        empty = [row for row, part in enumerate(parts) if not part]
        table.refuse(split, empty, "nothing", "a split in each row, or in none")
    # Upper and lower case do not matter: the first spelling of a split counts.
    spelt: dict[str, str] = {}
    return [spelt.setdefault(part.lower(), part) for part in parts]


def _check_parts(table: Table, parts: list[str], used: dict[str, str]) -> None:
    """Raise UserError if a part is no split. Unlike an extra folder, it must be a mistake."""
    unknown: dict[str, list[int]] = {}
    for row, part in enumerate(parts):
        if part and part not in used.values():
            unknown.setdefault(part, []).append(row)
    if unknown:
        shown = ", ".join(f"{part!r} ({table.at(rows)})" for part, rows in unknown.items())
        raise bad_value(
            _KEY,
            f"{table.path} with the split {shown}",
            "train, validation or test",
            f"Assign it to a split, such as dataset.splits.train={next(part for part in unknown)}",
        )
