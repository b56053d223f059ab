"""What a data set is: its classes, and of each split hashes over its images' ids, labels and contents.

Neither times nor absolute paths count: data that moved is the same data.
"""

from __future__ import annotations

import dataclasses
import hashlib
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from cait_finetune.data.source import SPLITS, Source

_BETWEEN = "\x1f"  # the unit separator stands in no name
#: Begins the weight of an image in its label.
WEIGHT = f"{_BETWEEN}weight "


@dataclasses.dataclass(frozen=True)
class SplitPrint:
    """One split: its number of images, and SHA-256s in file order.

    ``sha256`` is over (id, label), ``content_sha256`` over the content hashes; empty where these are unknown.
    """

    size: int
    sha256: str
    content_sha256: str = ""

    def matches(self, other: SplitPrint) -> bool:
        """Whether the images are the same, as far as both are known."""
        known = self.content_sha256 and other.content_sha256
        same = not known or self.content_sha256 == other.content_sha256
        return same and (self.size, self.sha256) == (other.size, other.sha256)


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """A data set as a run saw it; ``splits`` maps train, validation and test."""

    classes: tuple[str, ...]
    splits: Mapping[str, SplitPrint]

    @property
    def has_contents(self) -> bool:
        """Whether the contents of all images are known."""
        return all(one.content_sha256 for one in self.splits.values())

    def matches(self, other: Fingerprint) -> bool:
        """Whether the data are the same, as far as both are known; in whatever order the classes are."""
        return sorted(self.classes) == sorted(other.classes) and all(
            one.matches(other.splits[split]) for split, one in self.splits.items()
        )

    @property
    def digest(self) -> str:
        """One hash over all splits; the order of the classes does not count."""
        rows = (
            f"{split} {one.size} {one.sha256} {one.content_sha256}"
            for split, one in self.splits.items()
        )
        text = "\n".join(row.rstrip() for row in rows)  # without contents as in older versions
        text += "\n" + _BETWEEN.join(sorted(self.classes))
        return hashlib.sha256(text.encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "sha256": self.digest,
            "splits": {split: dataclasses.asdict(one) for split, one in self.splits.items()},
            "classes": list(self.classes),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Fingerprint:
        """The inverse of `as_dict`.

        Raises:
            AttributeError, KeyError, TypeError: other values.
        """
        splits = {split: SplitPrint(**one) for split, one in values["splits"].items()}
        return cls(tuple(values["classes"]), splits)


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """An example without its pixels.

    ``label`` joins its class names, sorted, by a unit separator. ``content`` is a hash of the image's bytes
    in hexadecimal digits; empty where it is unknown.
    """

    split: str
    id: str
    label: str
    content: str = ""


def images(source: Source, split: str) -> Iterator[Image]:
    """The images of a split in file order; a weight counts as part of the label."""
    names, labels, weights = np.array(source.class_names, object), source.labels(split), None
    if source.weighted:
        weights = source.weights(split)
    hashes = source.content_hashes(split)
    for row, one in enumerate(source.ids(split)):
        label = labels[row]
        if source.multi_label:
            label = _BETWEEN.join(sorted(names[np.flatnonzero(label > 0.5)]))
        else:
            label = names[label]
        if weights is not None:
            label += f"{WEIGHT}{weights[row]:.9g}"
        yield Image(split, str(one), label, "" if hashes is None else f"{hashes[row]:016x}")


def split_print(found: Sequence[Image]) -> SplitPrint:
    """The fingerprint of one split's images in file order."""
    labelled = _sha256("".join(f"{one.id}\0{one.label}\n" for one in found))
    contents = [one.content for one in found]
    return SplitPrint(len(found), labelled, _sha256("".join(contents)) if all(contents) else "")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def fingerprint(source: Source) -> tuple[Fingerprint, list[Image]]:
    """The fingerprint of an open source, and the images that it is of."""
    found = {split: list(images(source, split)) for split in SPLITS}
    root = _common_folder(one.id for of_split in found.values() for one in of_split)
    if root:  # a table with absolute paths, whose images may move
        for split, of_split in found.items():
            found[split] = [
                dataclasses.replace(one, id=one.id.removeprefix(root)) for one in of_split
            ]
    splits = {split: split_print(of_split) for split, of_split in found.items()}
    return Fingerprint(source.class_names, splits), [
        one for split in SPLITS for one in found[split]
    ]


def _common_folder(ids: Iterable[str]) -> str:
    """The folder, with a slash, that all images with an absolute path are below; empty without such images."""
    folders = [one.split("/")[:-1] for one in ids if one.startswith("/") or "://" in one]
    shared = posixpath.commonprefix(folders)
    return "/".join([*shared, ""]) if shared else ""
