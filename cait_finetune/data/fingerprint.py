"""Fingerprint a data set: its classes, and hashes of each split's ids, labels and contents.

A fingerprint contains neither times nor absolute paths: a data set that you move keeps it.
"""

from __future__ import annotations

import dataclasses
import hashlib
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # importing TensorFlow here would delay commands that read fingerprints only
    from cait_finetune.data.source import Source

_BETWEEN = "\x1f"  # the unit separator, which occurs in no name
#: Separates the weight of an image from the class names in its label.
WEIGHT = f"{_BETWEEN}weight "


@dataclasses.dataclass(frozen=True)
class SplitPrint:
    """Fingerprint of one split: its size, and SHA-256 hashes over the images in file order.

    Attributes:
        size: number of images.
        sha256: hash of the ids and labels.
        content_sha256: hash of the content hashes. Empty: the content of an image is unknown.
    """

    size: int
    sha256: str
    content_sha256: str = ""

    def matches(self, other: SplitPrint) -> bool:
        """Return whether the images are the same. Contents are compared only if both are known."""
        known = self.content_sha256 and other.content_sha256
        same = not known or self.content_sha256 == other.content_sha256
        return same and (self.size, self.sha256) == (other.size, other.sha256)


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """Fingerprint of a data set as a run read it. ``splits`` has train, validation and test."""

    classes: tuple[str, ...]
    splits: Mapping[str, SplitPrint]

    @property
    def has_contents(self) -> bool:
        """Whether the contents of the images in all splits are known."""
        return all(one.content_sha256 for one in self.splits.values())

    def matches(self, other: Fingerprint) -> bool:
        """Return whether the data are the same, in any order of the classes.

        Contents are compared only if both are known.
        """
        return sorted(self.classes) == sorted(other.classes) and all(
            one.matches(other.splits[split]) for split, one in self.splits.items()
        )

    @property
    def digest(self) -> str:
        """One SHA-256 over all splits. It does not depend on the order of the classes."""
        rows = (
            f"{split} {one.size} {one.sha256} {one.content_sha256}"
            for split, one in self.splits.items()
        )
        text = "\n".join(row.rstrip() for row in rows)  # older versions wrote no contents
        text += "\n" + _BETWEEN.join(sorted(self.classes))
        return hashlib.sha256(text.encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """Return the fingerprint as a dictionary for JSON."""
        return {
            "sha256": self.digest,
            "splits": {split: dataclasses.asdict(one) for split, one in self.splits.items()},
            "classes": list(self.classes),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Fingerprint:
        """Restore a fingerprint from `as_dict`.

        Raises:
            AttributeError, KeyError, TypeError: `values` have another form.
        """
        splits = {split: SplitPrint(**one) for split, one in values["splits"].items()}
        return cls(tuple(values["classes"]), splits)


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """An example without its pixels.

    Attributes:
        split: train, validation or test.
        id: the source's id of the image.
        label: the sorted class names, or ``target=number`` of each target, joined by unit
            separators. In a weighted source the weight follows.
        content: hash of the image's bytes in hexadecimal digits. Empty: unknown.
    """

    split: str
    id: str
    label: str
    content: str = ""


def images(source: Source, split: str) -> Iterator[Image]:
    """Yield the images of a split in file order. A weight becomes part of the label."""
    names, labels, weights = source.class_names, source.labels(split), None
    if source.weighted:
        weights = source.weights(split)
    hashes = source.content_hashes(split)
    for row, one in enumerate(source.ids(split)):
        label = _BETWEEN.join(sorted(source.target.label_texts(labels[row], names)))
        if weights is not None:
            label += f"{WEIGHT}{weights[row]:.9g}"
        yield Image(split, str(one), label, "" if hashes is None else f"{hashes[row]:016x}")


def split_print(found: Sequence[Image]) -> SplitPrint:
    """Return the fingerprint of one split, from its images in file order."""
    labelled = _sha256("".join(f"{one.id}\0{one.label}\n" for one in found))
    contents = [one.content for one in found]
    return SplitPrint(len(found), labelled, _sha256("".join(contents)) if all(contents) else "")


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def fingerprint(source: Source) -> tuple[Fingerprint, list[Image]]:
    """Return the fingerprint of an open source, and the images of all splits."""
    from cait_finetune.data.source import SPLITS

    found = {split: list(images(source, split)) for split in SPLITS}
    root = _common_folder(one.id for of_split in found.values() for one in of_split)
    if root:  # the images of a table with absolute paths may move
        for split, of_split in found.items():
            found[split] = [
                dataclasses.replace(one, id=one.id.removeprefix(root)) for one in of_split
            ]
    splits = {split: split_print(of_split) for split, of_split in found.items()}
    return Fingerprint(source.class_names, splits), [
        one for split in SPLITS for one in found[split]
    ]


def _common_folder(ids: Iterable[str]) -> str:
    """Return the folder, with a slash, that contains all images with an absolute path or a URL.

    Return an empty string if there is no common folder.
    """
    folders = [one.split("/")[:-1] for one in ids if one.startswith("/") or "://" in one]
    shared = posixpath.commonprefix(folders)
    return "/".join([*shared, ""]) if shared else ""
