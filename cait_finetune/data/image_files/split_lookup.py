"""Look up the present images in a split file, and warn of images that it cannot identify."""

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
    """The result of `look_up`.

    Attributes:
        splits: the split of each present image. `None`: the image is `new` or `unclear`.
        new: images that the file does not know.
        unclear: images that may be any of several gone images with different splits.
        old: the former path of each renamed image.
        gone: the split of each image that existed when the file was written, and is gone.
        away: the split of each image that the file knows and that does not exist now, with `gone`.
        contents: the content hashes in the file, by present path.
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
        """Phrases on the changes since the file was written."""
        new = len(self.new) + len(self.unclear)
        words = [f"{new:,} new"] if 0 < new < len(self.splits) else []
        words += [f"{len(self.gone):,} gone"] * bool(self.gone)
        if self.old:
            folders = renamed_folders(self.old)
            words.append(f"{len(self.old):,} under another path keep their split ({folders})")
        return words


def look_up(ids: Sequence[str], kept: Kept, now: Mapping[str, int], train: str) -> Found:
    """Look up the split of each present image.

    The content identifies an image: a moved or copied image keeps its split. If a known path has new
    content, the new image gets the split of the path. The former image keeps its split, too, in case
    it comes back.

    Args:
        ids: paths of the present images.
        kept: the rows of the split file.
        now: known content hashes of the present images, by path.
        train: name of the training split.
    """
    known, was = {**kept.away, **kept.known}, kept.contents
    here = dict.fromkeys(ids)
    gone = {path: split for path, split in kept.known.items() if path not in here}
    away = {path: split for path, split in kept.away.items() if path not in here}
    new = [name for name in ids if name not in known]
    changed = [path for path in ids if path in was and was[path] != now.get(path, was[path])]
    unhashed = [path for path in ids if path in known and path not in was]
    # If the present content of a path is unknown, its former image may be under another path now.
    unread = [path for path in ids if path in was and path not in now]
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
    if away and new:  # images may come back under another path
        old |= find_renamed(away, left()[1])[0]
    away |= gone
    gone, new = left()
    # An image with the name of a gone image but other content may be another image: keep the gone row.
    found = {
        path for name, path in old.items() if now.get(name) in (None, was.get(path, now.get(name)))
    }
    away = {path: split for path, split in away.items() if path not in found}
    origin = {**copied, **old}
    present = {name: was.get(origin.get(name, name)) for name in [*ids, *away]}
    everywhere = set(now.values())
    replaced = [path for path in changed if was[path] not in everywhere]
    # If the user re-encodes most images, rows of former training images would fill the file.
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
    """Warn if images of validation or test may now be in the training split.

    Args:
        place: path of the split file.
        found: result of `look_up`.
        train: name of the training split.
    """
    held_out = {path: split for path, split in found.gone.items() if split != train}
    if found.unclear:
        _warn_of_unclear(place, found.unclear, found.gone)
    elif found.new and held_out:
        logger.warning(
            "%s: %s gone (%s) while %s new. A new image that is a gone image under another name may be in "
            "train now: write its new path into that file",
            place,
            _are(len(held_out)),
            _by_split(held_out),
            _are(len(found.new)),
        )


def _warn_of_unclear(place: str, unclear: Sequence[str], gone: Mapping[str, str]) -> None:
    names = {os.path.basename(path) for path in unclear}
    maybe = {path: split for path, split in gone.items() if os.path.basename(path) in names}
    logger.warning(
        "%s: %s have the names of %s (%s), but cannot be matched one to one. They are divided anew, so "
        "images of test may be in train now. Write their new paths into that file, or remove its rows of "
        "images that are gone",
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
