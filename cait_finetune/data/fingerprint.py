"""What a data set is: its classes, and of each split a hash over every image's id and label.

Neither times nor absolute paths count: data that moved is the same data.
"""

from __future__ import annotations

import collections
import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from cait_finetune.data.source import ROLES, Source

#: The only word of `differences` where nothing but the order changed.
ANOTHER_ORDER = "the same images in another order"
_AT_A_TIME = 64  # images in memory
_NAMED = 2  # images of each kind of change
_BETWEEN = "\x1f"  # the unit separator stands in no name


@dataclasses.dataclass(frozen=True)
class SplitPrint:
    """One split: its number of images, and a SHA-256 over (id, label) in file order."""

    size: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """A data set as a run saw it; ``splits`` maps train, validation and test."""

    classes: tuple[str, ...]
    splits: Mapping[str, SplitPrint]

    @property
    def digest(self) -> str:
        """One hash over all splits; the order of the classes does not count."""
        text = "\n".join(f"{role} {one.size} {one.sha256}" for role, one in self.splits.items())
        text += "\n" + _BETWEEN.join(sorted(self.classes))
        return hashlib.sha256(text.encode()).hexdigest()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "sha256": self.digest,
            "splits": {role: dataclasses.asdict(one) for role, one in self.splits.items()},
            "classes": list(self.classes),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Fingerprint:
        """The inverse of `as_dict`.

        Raises:
            AttributeError, KeyError, TypeError: other values.
        """
        splits = {role: SplitPrint(**one) for role, one in values["splits"].items()}
        return cls(tuple(values["classes"]), splits)


@dataclasses.dataclass(frozen=True, slots=True)
class Image:
    """An example without its pixels; ``label`` joins its class names, sorted, by a unit separator."""

    split: str
    id: str
    label: str


def images(source: Source, role: str) -> Iterator[Image]:
    """The images of a split in file order; a weight counts as part of the label."""
    names, labels, weights = np.array(source.class_names, object), source.labels(role), None
    if source.weighted:
        weights = source.weights(role)
    for row, one in enumerate(source.ids(role)):
        label = labels[row]
        if source.multi_label:
            label = _BETWEEN.join(sorted(names[np.flatnonzero(label > 0.5)]))
        else:
            label = names[label]
        if weights is not None:
            label += f"{_BETWEEN}weight {weights[row]:.9g}"
        yield Image(role, str(one), label)


def split_print(found: Sequence[Image]) -> SplitPrint:
    """The fingerprint of one split's images in file order."""
    text = "".join(f"{one.id}\0{one.label}\n" for one in found)
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
    return SplitPrint(len(found), digest)


def fingerprint(source: Source) -> tuple[Fingerprint, list[Image]]:
    """The fingerprint of an open source, and the images that it is of."""
    found, splits = [], {}
    for role in ROLES:
        of_split = list(images(source, role))
        splits[role] = split_print(of_split)
        found += of_split
    return Fingerprint(source.class_names, splits), found


@tf.autograph.experimental.do_not_convert
def contents(
    source: Source, role: str, advance: Callable[[int], None] = lambda images: None
) -> str:
    """SHA-256 over the bytes of a split's images in file order; each is read, and none decoded.

    An image that cannot be read is left out: whoever decodes it will say so.

    Args:
        advance: is told of so many more images.
    """
    digest = hashlib.sha256()
    read = source.records(role).map(source.read, num_parallel_calls=tf.data.AUTOTUNE)
    batches = read.map(lambda example: example["image"]).ignore_errors().batch(_AT_A_TIME)
    for batch in batches.as_numpy_iterator():
        for image in batch:
            digest.update(hashlib.sha256(image).digest())
        advance(len(batch))
    return digest.hexdigest()


def differences(before: Sequence[Image], after: Sequence[Image]) -> list[str]:
    """What changed between two lists of images, in words: ``3 images new (ant/4.jpg, …)``.

    An image is in another order only where nothing else changed.
    """
    old, new = _by_id(before), _by_id(after)
    words = [
        _counted("new", [one for one in new if one not in old]),
        _counted("gone", [one for one in old if one not in new]),
    ]
    both = [one for one in new if one in old]
    words.append(_counted("relabelled", [one for one in both if old[one][1] != new[one][1]]))
    moved: dict[tuple[str, str], list[str]] = collections.defaultdict(list)
    for one in both:
        if old[one][0] != new[one][0]:
            moved[" and ".join(old[one][0]), " and ".join(new[one][0])].append(one)
    for (start, end), ids in moved.items():
        words.append(_counted(f"moved from {start} to {end}", ids))
    words = list(filter(None, words))
    if not words and list(before) != list(after):
        words.append(ANOTHER_ORDER)
    return words


def _by_id(found: Sequence[Image]) -> dict[str, tuple[list[str], list[str]]]:
    """Splits and labels of each id, sorted."""
    of_id: dict[str, tuple[list[str], list[str]]] = {}
    for one in found:
        splits, labels = of_id.setdefault(one.id, ([], []))
        splits.append(one.split)
        labels.append(one.label)
    for splits, labels in of_id.values():
        splits.sort()
        labels.sort()
    return of_id


def _counted(change: str, ids: Sequence[str]) -> str:
    if not ids:
        return ""
    named = ", ".join(ids[:_NAMED]) + ", …" * (len(ids) > _NAMED)
    return f"{len(ids):,} image{'s' * (len(ids) > 1)} {change} ({named})"
