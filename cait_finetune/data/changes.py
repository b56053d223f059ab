"""Describe the differences between two lists of images."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

from cait_finetune.data.fingerprint import WEIGHT, Image

#: The only entry of `differences` if only the order changed.
ANOTHER_ORDER = "the same images in another order"
_NAMED = 2  # ids that the description of a change names


def differences(before: Sequence[Image], after: Sequence[Image]) -> list[str]:
    """Describe each kind of change with its first images: ``3 images new (ant/4.jpg, …)``.

    A new id with the content of an id that is gone is the same image. The image is reported as
    renamed only if nothing else about it changed. Unknown contents count as equal. Another order is
    reported only if nothing else changed.
    """
    old, new = _by_id(before), _by_id(after)
    former = {one: one for one in new if one in old} | _renamed(old, new)
    found = set(former.values())
    changes: dict[str, list[str]] = collections.defaultdict(list)
    changes["new"] = [one for one in new if one not in former]
    changes["gone"] = [one for one in old if one not in found]
    for one, was in former.items():
        for change in _changes(old[was], new[one]) or ["renamed"] * (one != was):
            changes[change].append(one)
    words = [_counted(change, ids) for change, ids in changes.items() if ids]
    if not words and [one.id for one in before] != [one.id for one in after]:
        words.append(ANOTHER_ORDER)
    return words


@dataclasses.dataclass(slots=True)
class _Entry:
    """Splits, labels and contents of an id. Each list is sorted: an id can occur several times."""

    splits: list[str]
    labels: list[str]
    contents: list[str]


def _by_id(found: Sequence[Image]) -> dict[str, _Entry]:
    of_id: dict[str, _Entry] = {}
    for one in found:
        entry = of_id.setdefault(one.id, _Entry([], [], []))
        entry.splits.append(one.split)
        entry.labels.append(one.label)
        entry.contents.append(one.content)
    for entry in of_id.values():
        entry.splits.sort()
        entry.labels.sort()
        entry.contents.sort()
    return of_id


def _renamed(old: Mapping[str, _Entry], new: Mapping[str, _Entry]) -> dict[str, str]:
    """Map each new id to the id, now gone, that had the same content.

    A former id with the same label and split takes precedence.
    """
    former: dict[str, str] = {}
    left = [one for one in new if one not in old]
    lost = [one for one in old if one not in new and all(old[one].contents)]
    keys: list[Callable[[_Entry], Hashable]] = [
        lambda entry: (*entry.contents, *entry.labels, *entry.splits),
        lambda entry: entry.contents[0],
    ]
    for key in keys:
        taken = set(former.values())
        candidates: dict[Hashable, list[str]] = collections.defaultdict(list)
        for was in reversed(lost):
            if was not in taken:
                candidates[key(old[was])].append(was)
        for one in left:
            if one not in former and candidates[key(new[one])]:
                former[one] = candidates[key(new[one])].pop()
    return former


def _changes(old: _Entry, new: _Entry) -> list[str]:
    """Return the kinds of change of one image, except a change of its id."""
    listed, was = len(new.splits), len(old.splits)
    # Listing an image more often repeats its contents, labels and splits: compare distinct values.
    distinct: Callable[[Iterable[str]], list[str]] = (
        sorted if listed == was else lambda values: sorted(set(values))
    )
    found = []
    if all(old.contents) and all(new.contents):
        found += ["with other content"] * (distinct(old.contents) != distinct(new.contents))
    if distinct(_classes(old)) != distinct(_classes(new)):
        found.append("relabelled")
    elif distinct(old.labels) != distinct(new.labels):
        found.append("with another weight")
    if (before := distinct(old.splits)) != (after := distinct(new.splits)):
        found.append(f"moved from {' and '.join(before)} to {' and '.join(after)}")
    if not found and listed != was:
        found.append(f"listed {listed} times instead of {was}")
    return found


def _classes(entry: _Entry) -> list[str]:
    return [label.partition(WEIGHT)[0] for label in entry.labels]


def _counted(change: str, ids: Sequence[str]) -> str:
    named = ", ".join(ids[:_NAMED]) + ", …" * (len(ids) > _NAMED)
    return f"{len(ids):,} image{'s' * (len(ids) > 1)} {change} ({named})"
