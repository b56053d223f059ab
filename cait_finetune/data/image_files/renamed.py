"""Find images under another path, after a folder was renamed, or files or a whole table moved."""

from __future__ import annotations

import collections
import posixpath
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence

_SHOWN = 3

#: For each path ending: the gone images and the new images whose path has this ending.
_Groups = dict[tuple[str, ...], tuple[list[str], list[str]]]


def find_by_content(
    known: Mapping[str, str],
    free: Iterable[str],
    new: Iterable[str],
    was: Mapping[str, int],
    now: Mapping[str, int],
) -> tuple[dict[str, str], dict[str, str]]:
    """Find by content which new images are known images under another path.

    If several known images have the same content and the same split, a new image may match any of
    them. If their splits differ, the new image is not matched.

    Args:
        known: the split of each known image, by path.
        free: paths of known images that may now be under another path.
        new: paths that now have an image of unknown origin.
        was: content hashes of the known images, by path.
        now: content hashes of the new images, by path.

    Returns:
        For each renamed image its former path, and for each copied image the path of its original.
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
    """Find by path which new images are gone images under another path.

    The function compares the last components of the paths, the longest equal ending first. A gone
    and a new path match if no other path has the same ending. Two folders match if they contain
    such a pair, or if no other folders have the same set of endings. In matching folders all paths
    with equal endings match. If several gone images have the same ending and the same split, any of
    them matches.

    Args:
        gone: the split of each image that no longer exists, by path.
        new: paths of the images that did not exist before.

    Returns:
        For each renamed image its former path; and the images that cannot be matched, because gone
        images of several splits have the same file name.
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
            # Repeat: without the matched paths, more endings are unique.
        for was, now in _groups(lost, left, parts, length).values():
            if len({gone[one] for one in was}) == 1:
                take(zip(was, now, strict=False))
    by_name = collections.defaultdict(list)
    for path in gone:
        by_name[parts[path][-1]].append(path)
    unclear = []
    for now in left:
        maybe = by_name.get(parts[now][-1], [])
        if len({gone[one] for one in maybe}) == 1:  # any of them: all have the same split
            old[now] = maybe[0]
        elif any(one in lost for one in maybe):
            unclear.append(now)
    return old, unclear


def renamed_folders(old: Mapping[str, str]) -> str:
    """Return ``ant → zebra, …``: the first few differences between former and present paths."""
    pairs = dict.fromkeys(_difference(was, now) for now, was in old.items())
    shown = [f"{was or '.'} → {now or '.'}" for was, now in list(pairs)[:_SHOWN]]
    return ", ".join([*shown, "…"] if len(pairs) > _SHOWN else shown)


def _whole_folders(
    clear: list[tuple[str, str]], groups: _Groups, parts: Mapping[str, tuple[str, ...]], length: int
) -> Iterator[tuple[str, str]]:
    """Yield the gone and new paths with equal endings in folders that match.

    Folders match by the pairs in `clear`, or if no other folders have the same set of endings.
    """
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
    """Return the endings of `length` components that are in both `lost` and `left`, with paths."""
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
    """Return both paths without their common first and last components."""
    was, now = list(_parts(old)), list(_parts(new))
    while was and now and was[-1] == now[-1]:
        was.pop(), now.pop()
    shared = len(posixpath.commonprefix([was, now]))
    return "/".join(was[shared:]), "/".join(now[shared:])
