"""What a split file knows of the images that are there, and what it cannot know."""

from __future__ import annotations

import collections
import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence

from cait_finetune.data.image_files.renamed import find_by_content, find_renamed, renamed_folders
from cait_finetune.data.image_files.split_rows import Kept

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Found:
    """What a file knows of the images that are there.

    ``splits`` are None for images that it does not know: those that are ``new``, and those that are
    ``unclear``. ``old`` has the former paths of renamed ones. ``gone`` were there when it was written,
    ``away`` are all that are not there. ``contents`` are the content hashes that it has, by present path.
    """

    splits: list[str | None]
    new: list[str]
    unclear: list[str]
    old: Mapping[str, str]
    gone: Mapping[str, str]
    away: Mapping[str, str]
    contents: dict[str, int]

    @property
    def words(self) -> list[str]:
        """What has changed since it was written."""
        new = len(self.new) + len(self.unclear)
        words = [f"{new:,} new"] if 0 < new < len(self.splits) else []
        words += [f"{len(self.gone):,} gone"] * bool(self.gone)
        if self.old:
            folders = renamed_folders(self.old)
            words.append(f"{len(self.old):,} under another path keep their split ({folders})")
        return words


def look_up(ids: Sequence[str], kept: Kept, now: Mapping[str, int], train: str) -> Found:
    """What the file knows of the images.

    An image is its content: wherever it is moved or copied to, it keeps its split. A path whose content was
    never seen keeps the path's split, and its former content too, for when it comes back.

    Args:
        now: content hashes of the images, as far as they are known.
        train: the split that is trained on.
    """
    known, was = {**kept.away, **kept.known}, kept.contents
    here = dict.fromkeys(ids)
    gone = {path: split for path, split in kept.known.items() if path not in here}
    away = {path: split for path, split in kept.away.items() if path not in here}
    new = [name for name in ids if name not in known]
    changed = [path for path in ids if path in was and was[path] != now.get(path, was[path])]
    unhashed = [path for path in ids if path in known and path not in was]
    unread = [path for path in ids if path in was and path not in now]  # its image may be elsewhere
    old, copied = find_by_content(
        known, [*gone, *changed, *away, *unread], [*new, *changed, *unhashed], was, now
    )
    unclear: list[str] = []

    def left() -> tuple[dict[str, str], list[str]]:
        taken, settled = set(old.values()), {*old, *copied, *unclear}
        return (
            {path: split for path, split in gone.items() if path not in taken},
            [name for name in new if name not in settled],
        )

    if gone and new:
        more, unclear = find_renamed(*left())
        old |= more
    if away and new:  # taken away, and back later under another path
        old |= find_renamed(away, left()[1])[0]
    away |= gone
    gone, new = left()
    # With the name of a gone image, but another content, it may be another image.
    found = {
        path for name, path in old.items() if now.get(name) in (None, was.get(path, now.get(name)))
    }
    away = {path: split for path, split in away.items() if path not in found}
    origin = {**copied, **old}
    present = {name: was.get(origin.get(name, name)) for name in [*ids, *away]}
    everywhere = set(now.values())
    replaced = [path for path in changed if was[path] not in everywhere]
    # Kept each time that all images are encoded anew, these rows would be most of the file.
    encoded_anew = 2 * len(replaced) > len(ids)
    for path in replaced:
        if not (encoded_anew and known[path] == train):
            former = f"{path} (replaced, {was[path]:016x})"
            away[former], present[former] = known[path], was[path]
    return Found(
        splits=[known.get(origin.get(name, name)) for name in ids],
        new=new,
        unclear=unclear,
        old=old,
        gone=gone,
        away=away,
        contents={name: content for name, content in present.items() if content is not None},
    )


def warn_of_doubts(place: str, found: Found, train: str) -> None:
    """Warn if images that were not trained on may be trained on now.

    Args:
        train: the split that is trained on.
    """
    held_out = {path: split for path, split in found.gone.items() if split != train}
    if found.unclear:
        _warn_of_unclear(place, found.unclear, found.gone)
    elif found.new and held_out:
        logger.warning(
            "%s: %s gone (%s) while %s new; if one is the other under another name, it may be in train "
            "now: write its new path into that file",
            place,
            _are(len(held_out)),
            _by_split(held_out),
            _are(len(found.new)),
        )


def _warn_of_unclear(place: str, unclear: Sequence[str], gone: Mapping[str, str]) -> None:
    names = {os.path.basename(path) for path in unclear}
    maybe = {path: split for path, split in gone.items() if os.path.basename(path) in names}
    logger.warning(
        "%s: %s have the names of %s (%s), and which is which cannot be told. They are divided anew, so "
        "that images of test may be in train now. Write their new paths into that file, or remove its "
        "rows of images that are gone",
        place,
        _count(len(unclear), "new image"),
        _count(len(maybe), "image") + " that are gone",
        _by_split(maybe),
    )


def _are(count: int) -> str:
    return "1 image is" if count == 1 else f"{count:,} images are"


def _count(count: int, what: str) -> str:
    return f"{count:,} {what}{'s' * (count != 1)}"


def _by_split(images: Mapping[str, str]) -> str:
    counts = collections.Counter(images.values())
    return ", ".join(f"{count:,} of {split}" for split, count in sorted(counts.items()))
