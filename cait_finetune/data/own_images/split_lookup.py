"""What a split file knows of the images that are there, and what it cannot know."""

from __future__ import annotations

import collections
import dataclasses
import logging
import os
import posixpath
from collections.abc import Mapping, Sequence

from cait_finetune.data.own_images.renamed import find_by_size, find_renamed, renamed_folders
from cait_finetune.data.own_images.split_rows import Kept

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Found:
    """What a file knows of the images that are there.

    ``roles`` are None for images that it does not know: those that are ``new``, and those that are
    ``unclear``. ``old`` has the former paths of renamed ones. ``gone`` were there when it was written,
    ``away`` are all that are not there. Where files have changed places, ``displaced`` are those of which
    it is not known whose they were. ``sizes`` are the bytes that it has, by present path.
    """

    roles: list[str | None]
    new: list[str]
    unclear: list[str]
    old: Mapping[str, str]
    gone: Mapping[str, str]
    away: Mapping[str, str]
    displaced: int
    sizes: dict[str, int]

    @property
    def words(self) -> list[str]:
        """What has changed since it was written."""
        new = len(self.new) + len(self.unclear)
        words = [f"{new:,} new"] if 0 < new < len(self.roles) else []
        words += [f"{len(self.gone):,} gone"] * bool(self.gone)
        if self.old:
            folders = renamed_folders(self.old)
            words.append(f"{len(self.old):,} under another path keep their split ({folders})")
        return words


def look_up(ids: Sequence[str], kept: Kept, now: Mapping[str, int]) -> Found:
    """What the file knows of the images.

    Args:
        now: bytes of the images whose size is known.
    """
    known = {**kept.away, **kept.known}
    here = dict.fromkeys(ids)
    gone = {path: role for path, role in kept.known.items() if path not in here}
    away = {path: role for path, role in kept.away.items() if path not in here}
    new = [name for name in ids if name not in known]
    was = kept.sizes
    changed = [path for path in ids if path in was and was[path] != now.get(path, was[path])]
    old: dict[str, str] = {}
    if changed or (gone and new):
        old = _by_size(known, gone, new, changed, was, now)
        if changed:
            old = _by_folder(ids, known, old, was, now)
    moved = [path for path in changed if path in old]
    unclear: list[str] = []

    def left() -> tuple[dict[str, str], list[str]]:
        taken = set(old.values())
        return (
            {path: role for path, role in gone.items() if path not in taken},
            [name for name in new if name not in old and name not in unsure],
        )

    unsure: set[str] = set()
    if gone and new:
        more, unclear = find_renamed(*left())
        old |= more
        unsure.update(unclear)
    if away and new:  # taken away, and back later under another path
        old |= find_renamed(away, left()[1])[0]
    gone, new = left()
    taken = set(old.values())
    away = {path: role for path, role in (away | gone).items() if path not in taken}
    present = {name: kept.sizes.get(old.get(name, name)) for name in [*ids, *away]}
    return Found(
        roles=[known.get(old.get(name, name)) for name in ids],
        new=new,
        unclear=unclear,
        old=old,
        gone=gone,
        away=away,
        displaced=len(changed) - len(moved) if moved else 0,
        sizes={name: size for name, size in present.items() if size is not None},
    )


def _by_size(
    known: Mapping[str, str],
    gone: Mapping[str, str],
    new: Sequence[str],
    changed: Sequence[str],
    was: Mapping[str, int],
    now: Mapping[str, int],
) -> dict[str, str]:
    """The former path of each image that its size tells.

    Where files changed places or numbers, a path is there that was another image's: it is among the
    `changed`. Images that were encoded anew are, too, and some have by chance a size that another had:
    unless half of them are told, none is.
    """
    old: dict[str, str] = {}
    others = set(changed)
    for names in (True, False):
        taken = set(old.values())
        before = {path: known[path] for path in (*gone, *changed) if path not in taken}
        after = [path for path in (*new, *changed) if path not in old]
        found = find_by_size(before, after, was, now, names)
        if 2 * sum(name in others for name in found) < sum(name in others for name in after):
            found = {a: b for a, b in found.items() if a not in others and b not in others}
        lost = sum(path in gone for path in before)
        if not names and 2 * sum(path in gone for path in found.values()) < lost:
            found = {a: b for a, b in found.items() if b not in gone}
        old |= found
    return old


def _by_folder(
    ids: Sequence[str],
    known: Mapping[str, str],
    old: Mapping[str, str],
    was: Mapping[str, int],
    now: Mapping[str, int],
) -> dict[str, str]:
    """`old`, completed where a folder took another's place.

    Some of two folders' images have by chance the same name and size, and look as if they had stayed. If
    most images of a folder came from another one, those did, too.
    """
    images = collections.Counter(map(posixpath.dirname, ids))
    votes = collections.Counter(
        (posixpath.dirname(name), posixpath.dirname(path))
        for name, path in old.items()
        if posixpath.basename(name) == posixpath.basename(path)
    )
    source = {here: there for (here, there), count in votes.items() if 2 * count > images[here]}
    complete = dict(old)
    for name in ids:
        here, base = posixpath.split(name)
        path = posixpath.join(source.get(here, here), base)
        if path != name and path in known and path in was and was[path] == now.get(name):
            complete[name] = path
    return complete


def warn_of_doubts(place: str, found: Found, train: str) -> None:
    """Warn if images that were not trained on may be trained on now.

    Args:
        train: the split that is trained on.
    """
    if found.displaced:
        logger.warning(
            "%s: files have changed places, and of %s the size does not tell which image it was; they keep "
            "the split of their path, so that images of test may be in train now",
            place,
            _count(found.displaced, "file"),
        )
    held_out = {path: role for path, role in found.gone.items() if role != train}
    if found.unclear:
        _warn_of_unclear(place, found.unclear, found.gone)
    elif found.new and held_out:
        logger.warning(
            "%s: %s gone (%s) while %s new; if one is the other under another name, it may be in train "
            "now: write its new path into that file",
            place,
            _are(len(held_out)),
            _by_role(held_out),
            _are(len(found.new)),
        )


def _warn_of_unclear(place: str, unclear: Sequence[str], gone: Mapping[str, str]) -> None:
    names = {os.path.basename(path) for path in unclear}
    maybe = {path: role for path, role in gone.items() if os.path.basename(path) in names}
    logger.warning(
        "%s: %s have the names of %s (%s), and which is which cannot be told. They are divided anew, so "
        "that images of test may be in train now. Write their new paths into that file, or remove its "
        "rows of images that are gone",
        place,
        _count(len(unclear), "new image"),
        _count(len(maybe), "image") + " that are gone",
        _by_role(maybe),
    )


def _are(count: int) -> str:
    return "1 image is" if count == 1 else f"{count:,} images are"


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def _by_role(images: Mapping[str, str]) -> str:
    counts = collections.Counter(images.values())
    return ", ".join(f"{count:,} of {role}" for role, count in sorted(counts.items()))
