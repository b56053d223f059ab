"""Compare the pools from which runs drew their training images: train and validation together.

Folds, `examples_per_class` and `train_share` draw different training images from one pool. The
hashes in ``result.json`` cannot tell another draw from a changed pool, so this module compares the
lists of images.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatch
from itertools import combinations
from typing import Any

from cait_finetune.data.changes import ANOTHER_ORDER, differences
from cait_finetune.data.fingerprint import Image, split_print
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.image_list import read_images
from cait_finetune.runs.leaderboard import Entry
from cait_finetune.runs.values import mark

#: Keys that choose the pool. Runs with different values of these keys are not compared.
_POOL = (
    "dataset.name", "dataset.source", "dataset.splits.*", "dataset.columns.*", "dataset.num_classes",
    "dataset.class_names", "task.name",
)  # fmt: skip


def prints_of(entry: Entry) -> dict[str, dict[str, Any]]:
    """Return the size and hashes of each split. Empty: the run recorded none."""
    return (entry.result or {}).get("data", {}).get("splits", {})


def draw_of(entry: Entry) -> tuple[Any, ...]:
    """Return the values that draw the training images. From one pool, they draw the same images."""
    settings = entry.settings
    folds = settings.get("dataset.folds")
    few = settings.get("dataset.examples_per_class")
    share = _share(entry)
    if not (folds or few or share):
        return ()
    seed = settings.get("dataset.seed")
    if seed is None:  # as `DatasetConfig.draw_seed`
        seed = settings.get("dataset.splits.seed") or 0
    return folds, folds and settings.get("dataset.fold"), few, share, seed


def fold_of(entry: Entry) -> tuple[Any, ...]:
    """Return the values that draw the validation images. Empty: the run has no folds."""
    folds, fold, _, _, seed = draw_of(entry) or (None,) * 5
    return (folds, fold, seed) if folds else ()


def unlike_runs(
    entries: Iterable[Entry],
    split: str,
    comparable: Callable[[Entry, Entry], bool] | None = None,
) -> list[Entry]:
    """Return one run per different set of images of a split. Empty: all have the same images.

    The hashes depend on the order of the images, but another order is no difference.

    Args:
        comparable: returns whether two runs should have the same images. `None`: all should.
    """
    first: dict[tuple[Any, ...], Entry] = {}
    for entry in entries:
        if split in prints_of(entry):
            first.setdefault((*_hashes(entry, split), draw_of(entry)), entry)

    def differ(one: Entry, other: Entry) -> bool:
        if comparable is not None and not comparable(one, other):
            return False
        return not (_alike(one, other, split) or _reordered(one, other, split))

    found: list[Entry] = []
    for pair in combinations(first.values(), 2):
        if not found and differ(*pair):
            found = list(pair)
    for entry in first.values():
        if found and all(entry is not one and differ(entry, one) for one in found):
            found.append(entry)
    return found


def pool_notes(entries: Sequence[Entry]) -> list[str]:
    """Return lines on pools that differ between runs with equal settings of the pool."""
    groups: dict[tuple[str, ...], list[Entry]] = {}
    keys = sorted({
        key for entry in entries for key in entry.settings
        if any(fnmatch(key, pattern) for pattern in _POOL)
    })  # fmt: skip
    for entry in entries:
        if "train" in prints_of(entry):
            groups.setdefault(tuple(mark(entry.settings.get(key)) for key in keys), []).append(
                entry
            )
    return [line for runs in groups.values() for line in _notes(runs)]


def _notes(runs: Sequence[Entry]) -> list[str]:
    draws: dict[tuple[Any, ...], list[Entry]] = {}
    for run in runs:
        draws.setdefault(draw_of(run), []).append(run)
    unlike = [runs for same in draws.values() if (runs := unlike_runs(same, "train"))]
    if unlike:
        return [_trained_on_others(runs[0], other) for runs in unlike for other in runs[1:]]
    if len(draws) < 2:
        return []
    return _between_draws([max(same, key=_knows_contents) for same in draws.values()])


def _trained_on_others(one: Entry, other: Entry) -> str:
    before, after = _listed(one), _listed(other)
    changes = differences(before, after) if before and after else []
    why = "under the same settings"
    if one.settings.get("dataset.data_dir") != other.settings.get("dataset.data_dir"):
        why = "from another dataset.data_dir"
    return (
        f"images  {one.directory} and {other.directory} were trained on different images {why}"
        + f": {'; '.join(changes)}" * bool(changes)
    )


def _between_draws(runs: Sequence[Entry]) -> list[str]:
    """Compare the pools of runs with different draws, and describe the first two that differ."""
    whole: tuple[Entry, list[Image]] | None = None
    known: dict[str, tuple[Image, Entry]] = {}
    unlisted = []
    for run in sorted(runs, key=_draws_some):  # those that use the whole pool come first
        images = _listed(run, pool=True)
        if not images:
            unlisted.append(run)
        elif whole is not None:
            if changes := _changes(whole[1], images, _draws_some(run)):
                return [_changed(whole[0], run, changes)]
        elif not _draws_some(run):
            whole = run, images
        else:
            for image in images:
                was, of = known.setdefault(image.id, (image, run))
                if of is not run and not _same(was, image):
                    return [_changed(of, run, differences([was], [image]))]
    if sizes := _other_sizes(runs):
        return [sizes]
    return [_not_compared(unlisted)] if unlisted else []


def _changes(whole: list[Image], images: list[Image], some: bool) -> list[str]:
    """Describe how a pool, or images drawn from it, differ from the pool `whole`."""
    if some:
        drawn = {image.id for image in images}
        whole = [image for image in whole if image.id in drawn]
    return [one for one in differences(whole, images) if one != ANOTHER_ORDER]


def _changed(one: Entry, other: Entry, changes: Sequence[str]) -> str:
    return (
        f"images  train and validation together changed between {one.directory} and "
        f"{other.directory}: {'; '.join(changes)}"
    )


def _other_sizes(runs: Sequence[Entry]) -> str:
    """Compare the numbers of images that different seeds drew under equal settings."""
    first: dict[tuple[Any, ...], tuple[int, Entry]] = {}
    for run in runs:
        folds, _, few, share, _ = draw_of(run) or (None,) * 5
        size = prints_of(run)["train"].get("size")
        if not folds and (few or share) and size is not None:
            count, of = first.setdefault((few, share), (size, run))
            if count != size:
                return (
                    f"images  {of.directory} drew {count:,} training images and {run.directory} "
                    f"{size:,} under the same settings: images are new or gone"
                )
    return ""


def _not_compared(runs: Sequence[Entry]) -> str:
    more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
    return (
        f"images  train and validation images of {runs[0].directory}{more} were not compared with the "
        "other draws: images.csv.gz is missing or does not fit result.json"
    )


def _listed(run: Entry, pool: bool = False) -> list[Image]:
    """Return the run's images. Empty: the list is missing, damaged or of other images.

    Args:
        pool: return train and validation only, as one split in the order of the ids.
    """
    images = read_images(RunDirectory(run.directory).images)
    for split, recorded in prints_of(run).items():
        found = split_print([image for image in images if image.split == split])
        contents = recorded.get("content_sha256")
        if found.sha256 != recorded.get("sha256") or (contents or found.content_sha256) != (
            found.content_sha256
        ):
            return []
    if not pool:
        return images
    both = [dataclasses.replace(one, split="pool") for one in images if one.split != "test"]
    return sorted(both, key=lambda image: image.id)


def _same(one: Image, other: Image) -> bool:
    known = one.content and other.content
    return one.label == other.label and (not known or one.content == other.content)


def _knows_contents(entry: Entry) -> bool:
    return all(one.get("content_sha256") for one in prints_of(entry).values())


def _hashes(entry: Entry, split: str) -> tuple[str, str]:
    found = prints_of(entry)[split]
    return found.get("sha256") or "", found.get("content_sha256") or ""


def _alike(one: Entry, other: Entry, split: str) -> bool:
    """Return whether a split has the same images. Hashes that a run lacks count as equal."""
    pairs = zip(_hashes(one, split), _hashes(other, split), strict=True)
    return all(not mine or not theirs or mine == theirs for mine, theirs in pairs)


def _reordered(one: Entry, other: Entry, split: str) -> bool:
    """Return whether a split has the same images in another order."""
    mine, theirs = (
        [image for image in _listed(run) if image.split == split] for run in (one, other)
    )
    return bool(mine and theirs) and differences(mine, theirs) == [ANOTHER_ORDER]


def _share(entry: Entry) -> float | None:
    share = entry.settings.get("dataset.train_share")
    return None if share is None or share == 1 else share


def _draws_some(entry: Entry) -> bool:
    """Return whether a run uses only some images of the pool."""
    return bool(entry.settings.get("dataset.examples_per_class") or _share(entry))
