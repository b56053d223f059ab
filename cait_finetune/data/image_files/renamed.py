"""Images under another path: a class folder that was renamed, files that were moved, a table's other root."""

from __future__ import annotations

import collections
import posixpath
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence

_SHOWN = 3

#: By the end of their paths: ids of images that are gone, and of images that are new.
_Groups = dict[tuple[str, ...], tuple[list[str], list[str]]]


def find_by_content(
    known: Mapping[str, str],
    free: Iterable[str],
    new: Iterable[str],
    was: Mapping[str, int],
    now: Mapping[str, int],
) -> tuple[dict[str, str], dict[str, str]]:
    """Find which new images are known ones under another path, by their content.

    Where several known images have the same content, it does not matter which one it was if they are in the
    same split. If they are not, their content does not tell.

    Args:
        known: the split of each known image.
        free: known images that are no longer under their path.
        new: paths whose image was not there.
        was: content hashes of the known images.
        now: content hashes of the new ones.

    Returns:
        The former path of each image that was renamed; and of each that was copied, the path of its original.
    """
    splits, left = collections.defaultdict(set), collections.defaultdict(collections.deque)
    original: dict[int, str] = {}
    for path, split in known.items():
        if path in was:
            splits[was[path]].add(split)
            original[was[path]] = path
    for path in free:
        if path in was:
            left[was[path]].append(path)
    renamed, copied = {}, {}
    for path in new:
        content = now.get(path)
        if len(splits.get(content, ())) != 1:
            continue
        if left.get(content):
            renamed[path] = left[content].popleft()
        else:
            copied[path] = original[content]
    return renamed, copied


def find_renamed(gone: Mapping[str, str], new: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Find which new images are gone ones under another path.

    Paths are compared from their ends, the longest equal end first. An end that one gone and one new
    path have is clear. Folders that have such paths, or alone have the same set of ends, were renamed,
    with all that is in them. Where several gone images have the same end, it does not matter which it
    was if they are in the same split.

    Args:
        gone: the split of each image that is no longer there.
        new: images that were not there.

    Returns:
        The former path of each image that is a renamed one, and the images that may be any of several
        gone ones, of which some are in another split.
    """
    parts = {path: _parts(path) for path in [*gone, *new]}
    left, old = dict.fromkeys(new), {}
    lost = dict.fromkeys(gone)

    def take(pairs: Iterable[tuple[str, str]]) -> bool:
        before = len(old)
        for was, now in pairs:
            if was in lost and now in left:
                del lost[was], left[now]
                old[now] = was
        return len(old) > before

    for length in range(max(map(len, parts.values()), default=0), 0, -1):
        while lost and left:
            groups = _groups(lost, left, parts, length)
            clear = [(was[0], now[0]) for was, now in groups.values() if len(was) == len(now) == 1]
            if not (take(_whole_folders(clear, groups, parts, length)) or take(clear)):
                break
            # Folders that have lost those are told apart more easily.
        for was, now in _groups(lost, left, parts, length).values():
            if len({gone[one] for one in was}) == 1:
                take(zip(was, now, strict=False))
    by_name = collections.defaultdict(list)
    for path in gone:
        by_name[parts[path][-1]].append(path)
    unclear = []
    for now in left:
        maybe = by_name.get(parts[now][-1], [])
        if len({gone[one] for one in maybe}) == 1:  # taken by another, but that may be the new one
            old[now] = maybe[0]
        elif any(one in lost for one in maybe):
            unclear.append(now)
    return old, unclear


def renamed_folders(old: Mapping[str, str]) -> str:
    """``ant → zebra, …``: the first few folders in which former and present paths differ."""
    pairs = dict.fromkeys(_difference(was, now) for now, was in old.items())
    shown = [f"{was or '.'} → {now or '.'}" for was, now in list(pairs)[:_SHOWN]]
    return ", ".join([*shown, "…"] if len(pairs) > _SHOWN else shown)


def _whole_folders(
    clear: list[tuple[str, str]], groups: _Groups, parts: Mapping[str, tuple[str, ...]], length: int
) -> Iterator[tuple[str, str]]:
    """All pairs of paths in folders of which `clear` pairs, or equal sets of names, say which is which."""
    became, was = collections.defaultdict(set), collections.defaultdict(set)
    for one, other in clear:
        before, after = parts[one][:-length], parts[other][:-length]
        became[before].add(after)
        was[after].add(before)
    pairs = [
        (before, after)
        for before, all_after in became.items()
        for after in all_after
        if len(all_after) == len(was[after]) == 1
    ]
    ends = [collections.defaultdict(dict), collections.defaultdict(dict)]
    for end, sides in groups.items():
        for of_folder, paths in zip(ends, sides, strict=True):
            for path in paths:
                of_folder[parts[path][:-length]][end] = path
    by_ends = [collections.defaultdict(list), collections.defaultdict(list)]
    for of_ends, of_folder in zip(by_ends, ends, strict=True):
        for folder, paths in of_folder.items():
            of_ends[frozenset(paths)].append(folder)
    for same, before in by_ends[0].items():
        after = by_ends[1].get(same, [])
        if len(before) == len(after) == 1:
            pairs.append((before[0], after[0]))
    for before, after in pairs:
        for end, path in ends[0][before].items():
            if end in ends[1][after]:
                yield path, ends[1][after][end]


def _groups(
    lost: Iterable[str], left: Iterable[str], parts: Mapping[str, tuple[str, ...]], length: int
) -> _Groups:
    """Ends of that many parts which both have."""
    groups: _Groups = {}
    for side, paths in enumerate((lost, left)):
        for path in paths:
            if len(parts[path]) >= length:
                groups.setdefault(parts[path][-length:], ([], []))[side].append(path)
    return {end: sides for end, sides in groups.items() if all(sides)}


def _parts(path: str) -> tuple[str, ...]:
    normal = posixpath.normpath(unicodedata.normalize("NFC", path))
    return tuple(part for part in normal.split("/") if part)


def _difference(old: str, new: str) -> tuple[str, str]:
    """The paths without their equal ends and beginnings."""
    was, now = list(_parts(old)), list(_parts(new))
    while was and now and was[-1] == now[-1]:
        was.pop(), now.pop()
    shared = len(posixpath.commonprefix([was, now]))
    return "/".join(was[shared:]), "/".join(now[shared:])
