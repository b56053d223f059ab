"""The table of measured and published accuracies, as CSV and Markdown."""

from __future__ import annotations

import csv
import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path

from cait_finetune.runs.markdown import markdown_table
from cait_finetune.runtime.locks import beside, wait_for_lock
from cait_tf.atomic import atomic_open, write_text
from cait_tf.variants import IMAGENET_MEAN, IMAGENET_STD

#: Parser of a column, by the type of its field.
_READ = {"str": str, "int": int, "float": float, "bool": {"True": True, "False": False}.__getitem__}
_DIGITS = 12  # hexadecimal digits of a SHA-256 in the table


@dataclasses.dataclass(frozen=True)
class Conditions:
    """All facts on which an accuracy depends. They are the key of a row.

    Attributes:
        weights_sha256: checksum of the model's parameters as loaded.
        data_sha256: checksum of the split's ids and labels.
        images_sha256: checksum of the bytes of the split's image files.
        image_size: the side of a square in pixels, or ``HEIGHTxWIDTH``.
        mean: one number per channel, separated by spaces. ``std`` has the same form.
    """

    model: str
    weights: str
    weights_sha256: str
    dataset: str
    split: str
    data_sha256: str
    images_sha256: str
    image_size: str
    crop_pct: float
    resize_mode: str
    interpolation: str
    antialias: bool
    upright: bool
    mean: str
    std: str


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """One measurement. Accuracies are in percent.

    Attributes:
        left_out: number of corrupt images that were not scored.
        published_top1: `None`: no accuracy was published. ``published_top5`` likewise.
    """

    conditions: Conditions
    images: int
    left_out: int
    top1: float
    top5: float
    published_top1: float | None = None
    published_top5: float | None = None

    @property
    def difference(self) -> float | None:
        """Measured minus published top-1, in percentage points. `None`: none was published."""
        return None if self.published_top1 is None else self.top1 - self.published_top1


class AccuracyTable:
    """``accuracies.csv`` and ``accuracies.md`` in a directory. Existing rows are kept.

    `find` ignores incomplete rows, which lack a column or a value. Earlier versions wrote
    incomplete rows. They stay in the CSV until the same model, weights, data set, size and crop are
    measured again.
    """

    def __init__(self, directory: Path) -> None:
        self.csv = directory / "accuracies.csv"
        self.markdown = directory / "accuracies.md"
        self.rows: list[Accuracy] = []
        self._incomplete: list[dict[str, str]] = []
        self._read()

    def find(self, conditions: Conditions) -> Accuracy | None:
        """Return the row with exactly these conditions. `None`: the table has no such row."""
        return next((row for row in self.rows if row.conditions == conditions), None)

    def add(self, row: Accuracy) -> None:
        """Add a row and rewrite both files. The new row replaces a row with the same conditions.

        An interruption leaves the old files intact. A lock lets one process at a time add to the
        table.
        """
        with wait_for_lock(beside(self.csv)):
            self._add(row)

    def _add(self, row: Accuracy) -> None:
        self._read()  # another process may have added rows
        others = [one for one in self.rows if one.conditions != row.conditions]
        self.rows = sorted([*others, row], key=lambda one: _place(one.conditions))
        values = _values(row)
        self._incomplete = [one for one in self._incomplete if not _replaces(values, one)]
        with atomic_open(self.csv, newline="") as file:
            writer = csv.DictWriter(file, list(values), restval="")
            writer.writeheader()
            writer.writerows(map(_values, self.rows))
            writer.writerows(self._incomplete)
        write_text(self.markdown, self._as_markdown())

    def _read(self) -> None:
        self.rows, self._incomplete = [], []
        if not self.csv.exists():
            return
        known = [one.name for kind in (Conditions, Accuracy) for one in dataclasses.fields(kind)]
        with open(self.csv, newline="", encoding="utf-8") as file:
            for line in csv.DictReader(file):
                try:
                    self.rows.append(_parsed(line))
                except (KeyError, ValueError, TypeError):
                    line = {name: text for name, text in line.items() if name in known}
                    self._incomplete.append(line)

    def _as_markdown(self) -> str:
        rows = []
        for row in self.rows:
            given = row.conditions
            images = f"{row.images:,}" + (f", {row.left_out:,} left out" if row.left_out else "")
            rows.append([
                f"`{given.model}`", f"{given.weights} ({given.weights_sha256})",
                f"{given.dataset}, {given.split} ({given.data_sha256})", _describe(given), images,
                *_beside(row.top1, row.published_top1), *_beside(row.top5, row.published_top5),
            ])  # fmt: skip
        beside = ["published", "difference"]
        header = ["model", "weights", "data set", "preprocessing", "images"]
        return markdown_table([*header, "top-1", *beside, "top-5", *beside], rows)


def _place(given: Conditions) -> list[object]:
    """Return the values by which rows are sorted. Image sizes count as numbers: 96 before 224."""
    sides = [int(side) for side in re.findall(r"\d+", given.image_size)]
    return list((dataclasses.asdict(given) | {"image_size": sides}).values())


def short(sha256: str) -> str:
    """Return the first digits of a checksum, as in the table."""
    return sha256[:_DIGITS]


def cropped(given: Conditions) -> str:
    """Return the resize mode and crop in words: ``crop 0.875``, ``squash, crop 1`` or ``pad``."""
    if given.resize_mode == "pad":
        return "pad"
    crop = f"crop {given.crop_pct:g}"
    return crop if given.resize_mode == "shorter_side" else f"{given.resize_mode}, {crop}"


def _describe(given: Conditions) -> str:
    """Return the preprocessing in words: ``224, crop 0.875, bicubic``."""
    words = [given.image_size, cropped(given), given.interpolation]
    words += ["not antialiased"] if not given.antialias else []
    words += ["upright"] if given.upright else []
    for name, usual in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
        value = getattr(given, name)
        words += [f"{name} {value}"] if value != channels(usual) else []
    return ", ".join(words)


def channels(values: tuple[float, ...]) -> str:
    """Return the values of red, green and blue, separated by spaces, as in the table."""
    return " ".join(map(repr, map(float, values)))


def _values(row: Accuracy) -> dict[str, object]:
    """Return the values of a CSV line, by column."""
    found = vars(row) | {}
    return vars(found.pop("conditions")) | found


def _parsed(line: Mapping[str, str]) -> Accuracy:
    """Return the row of a CSV line.

    Raises:
        KeyError, ValueError, TypeError: a column or a value is missing or cannot be parsed.
    """

    def read(field: dataclasses.Field) -> object:
        kind, _, optional = str(field.type).partition(" | ")
        text = line[field.name]
        if not text and not optional:
            raise ValueError(f"no {field.name}")
        return _READ[kind](text) if text else None

    first, *others = dataclasses.fields(Accuracy)
    conditions = Conditions(**{one.name: read(one) for one in dataclasses.fields(Conditions)})
    return Accuracy(**{first.name: conditions}, **{one.name: read(one) for one in others})


def _replaces(new: Mapping[str, object], old: Mapping[str, str]) -> bool:
    """Return whether the new row replaces the incomplete row `old`."""
    names = ("model", "weights", "dataset", "image_size", "crop_pct")
    return all(str(new[name]) == old.get(name) for name in names)


def _beside(measured: float, published: float | None) -> list[str]:
    """Return three cells: the measured accuracy, the published accuracy, and their difference."""
    if published is None:
        return [f"{measured:.3f}", "–", "–"]
    return [f"{measured:.3f}", f"{published:.3f}", f"{measured - published:+.3f}"]
