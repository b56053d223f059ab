"""The table of measured accuracies beside the published ones: CSV for machines, Markdown for people."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Mapping
from pathlib import Path

from cait_finetune.runtime.locks import beside, wait_for_lock
from cait_tf.atomic import atomic_open, write_text
from cait_tf.variants import IMAGENET_MEAN, IMAGENET_STD

#: Parsers of a column by the type of its field.
_READ = {"str": str, "int": int, "float": float, "bool": {"True": True, "False": False}.__getitem__}
_DIGITS = 12  # of a SHA-256, which are enough for a table


@dataclasses.dataclass(frozen=True)
class Conditions:
    """Everything that an accuracy depends on: a row's key.

    ``weights_sha256`` is of the model's parameters as loaded, ``data_sha256`` of the split's ids and
    labels, ``images_sha256`` of the bytes of its image files. ``mean`` and ``std`` have a space
    between the channels.
    """

    model: str
    weights: str
    weights_sha256: str
    dataset: str
    split: str
    data_sha256: str
    images_sha256: str
    image_size: int
    crop_pct: float
    resize_mode: str
    interpolation: str
    antialias: bool
    upright: bool
    mean: str
    std: str


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """One measurement. Accuracies in percent; the published ones are None where there are none.

    ``left_out`` is the number of corrupt images that were not scored.
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
        """Measured less published top-1, in points."""
        return None if self.published_top1 is None else self.top1 - self.published_top1


class AccuracyTable:
    """``accuracies.csv`` and ``accuracies.md`` in a directory; a row that is there stays there.

    Rows that lack a column or a value, as those of earlier versions do, are never found. They stay in
    the CSV until the same model, weights, data set, size and crop are measured again.
    """

    def __init__(self, directory: Path) -> None:
        self.csv = directory / "accuracies.csv"
        self.markdown = directory / "accuracies.md"
        self.rows: list[Accuracy] = []
        self._incomplete: list[dict[str, str]] = []
        self._read()

    def find(self, conditions: Conditions) -> Accuracy | None:
        """The row that was measured under exactly these conditions."""
        return next((row for row in self.rows if row.conditions == conditions), None)

    def add(self, row: Accuracy) -> None:
        """Write both files anew with one row more; an interruption leaves the old ones.

        Processes that add to one table at once wait for each other.
        """
        with wait_for_lock(beside(self.csv)):
            self._add(row)

    def _add(self, row: Accuracy) -> None:
        self._read()  # what another process has added
        others = [one for one in self.rows if one.conditions != row.conditions]
        self.rows = sorted([*others, row], key=lambda one: dataclasses.astuple(one.conditions))
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
        lines = [
            "| model | weights | data set | preprocessing | images | top-1 | published | difference "
            "| top-5 | published | difference |",
            "|---|---|---|---|---|---|---|---|---|---|---|",
        ]
        for row in self.rows:
            given = row.conditions
            images = f"{row.images:,}" + (f", {row.left_out:,} left out" if row.left_out else "")
            lines.append(
                f"| `{given.model}` | {_cell(given.weights)} ({given.weights_sha256}) "
                f"| {_cell(given.dataset)}, {given.split} ({given.data_sha256}) "
                f"| {_describe(given)} | {images} | {_beside(row.top1, row.published_top1)} "
                f"| {_beside(row.top5, row.published_top5)} |"
            )
        return "\n".join(lines) + "\n"


def short(sha256: str) -> str:
    """The first digits of a checksum, as the table has it."""
    return sha256[:_DIGITS]


def cropped(given: Conditions) -> str:
    """What of an image the model sees, in words: ``crop 0.875``, ``squash, crop 1`` or ``pad``."""
    if given.resize_mode == "pad":
        return "pad"
    crop = f"crop {given.crop_pct:g}"
    return crop if given.resize_mode == "shorter_side" else f"{given.resize_mode}, {crop}"


def _describe(given: Conditions) -> str:
    """How images are brought to the model: ``224, crop 0.875, bicubic``."""
    words = [str(given.image_size), cropped(given), given.interpolation]
    words += ["not antialiased"] if not given.antialias else []
    words += ["upright"] if given.upright else []
    for name, usual in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
        value = getattr(given, name)
        words += [f"{name} {value}"] if value != channels(usual) else []
    return ", ".join(words)


def channels(values: tuple[float, ...]) -> str:
    """Red, green and blue as the table has them."""
    return " ".join(map(repr, map(float, values)))


def _values(row: Accuracy) -> dict[str, object]:
    """A line of the CSV."""
    found = vars(row) | {}
    return vars(found.pop("conditions")) | found


def _parsed(line: Mapping[str, str]) -> Accuracy:
    """Raises KeyError, ValueError or TypeError where a column or a value is missing or no such."""

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
    """Whether a row of an earlier version was of what is measured now."""
    names = ("model", "weights", "dataset", "image_size", "crop_pct")
    return all(str(new[name]) == old.get(name) for name in names)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _beside(measured: float, published: float | None) -> str:
    """Three cells: an accuracy, the published one, and the first less the second."""
    if published is None:
        return f"{measured:.3f} | – | –"
    return f"{measured:.3f} | {published:.3f} | {measured - published:+.3f}"
