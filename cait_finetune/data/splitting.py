"""Divide images into train, validation and test, into folds, and into subsets of each class."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np

from cait_finetune.data.sorting import stored_order
from cait_finetune.data.source import SPLITS, Selection, Source
from cait_finetune.errors import bad_value


def folded(source: Source, folds: int, fold: int, seed: int) -> Selection:
    """Divide train and validation together into `folds` parts; part `fold` becomes validation.

    The division is stratified by class, by combination of classes, or by quantiles of numbers. It is
    random for images with any number of classes, and if a quantile has fewer numbers than `folds`.
    The test split does not change.

    Raises:
        UserError: there are more folds than images in the largest class or combination of classes. With
            any number of classes per image, or with numbers: more folds than images.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    sizes = [source.sizes[split] for split in ("train", "validation")]
    labels = np.concatenate([source.labels(split) for split in ("train", "validation")])
    strata = source.target.strata(labels)
    counts = np.bincount(strata)
    if source.target.has_classes:
        kind, most = StratifiedKFold if source.target.stratified else KFold, int(counts.max())
        what = f"the images of the largest {source.target.stratum}"
    else:  # groups of numbers that are smaller than the number of folds cannot be in each fold
        kind, most = StratifiedKFold if folds <= counts.min() else KFold, len(labels)
        what = "the images of train and validation"
    if folds > most:
        raise bad_value("dataset.folds", folds, f"at most {most}, {what}")
    divider = kind(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        # Groups smaller than the number of folds are normal: they cannot be in each fold.
        warnings.filterwarnings("ignore", "The least populated class in y", UserWarning)
        training, validation = list(divider.split(np.zeros(len(labels)), strata))[fold]

    def parts(rows: np.ndarray) -> list[tuple[str, np.ndarray]]:
        own = rows < sizes[0]
        return [("train", rows[own]), ("validation", rows[~own] - sizes[0])]

    return {
        "train": parts(training),
        "validation": parts(validation),
        "test": [("test", np.arange(source.sizes["test"]))],
    }


def by_class(source: Source, splits: Sequence[str], seed: int) -> Selection:
    """Divide the images of some splits among these splits again, class by class.

    The splits keep their shares of the images. The division depends on the seed, the labels and the
    order in which the images are stored, but not on the order of reading. For images with any number
    of classes the division is random.

    Raises:
        UserError: there are too few images to put each class into the first split, and an image
            into every other split.
    """
    sizes = np.array([source.sizes[split] for split in splits])
    ids = np.concatenate([source.ids(split) for split in splits])
    labels = np.concatenate([source.labels(split) for split in splits])
    order = stored_order(ids)
    strata = source.target.strata(labels[order])
    part_of = np.empty(len(order), int)
    try:
        part_of[order] = divided(strata, sizes / sizes.sum(), seed)
    except ValueError as error:
        by = "class" if source.target.has_classes else "a target"
        raise bad_value(
            "dataset.splits", f"{len(order)} images sorted by {by}", f"more of them ({error})"
        ) from error
    ends = np.cumsum(sizes)
    selection = {split: [(split, np.arange(source.sizes[split]))] for split in SPLITS}
    for number, split in enumerate(splits):
        selection[split] = [
            (old, np.flatnonzero(part_of[end - size : end] == number))
            for old, size, end in zip(splits, sizes, ends, strict=True)
        ]
    return selection


def few_of_each_class(source: Source, count: int, seed: int) -> np.ndarray:
    """Return rows of the train split: `count` of each class, or all rows of a smaller class.

    `Target.check_config` refuses the key with numbers and with several labels.

    `seed` draws the rows. With the same seed, the rows for a larger `count` contain the rows for a
    smaller `count`.

    Raises:
        UserError: images have any number of classes.
    """
    return _of_each_class(source, "dataset.examples_per_class", count, lambda size: count, seed)


def share_of_each_class(source: Source, share: float, seed: int) -> np.ndarray:
    """Return rows of the train split: `share` of each class, rounded, but at least one image.

    With numbers or several labels, the rows are `share` of each group of `Target.strata`.

    With the same seed, the rows for a larger `share` contain the rows for a smaller `share`.

    Raises:
        UserError: images have any number of classes.
    """

    def number(size: int) -> int:
        return max(1, round(share * size))

    return _of_each_class(source, "dataset.train_share", share, number, seed)


def _of_each_class(
    source: Source, key: str, value: float, number: Callable[[int], int], seed: int
) -> np.ndarray:
    """Return ``number(size)`` rows of each group of `Target.strata` with `size` images, in file order."""
    if not source.target.stratified:
        raise bad_value(
            key,
            f"{value} with task={source.target.task}",
            "null there: an image counts for several classes",
        )
    labels = source.target.strata(source.labels("train"))
    chosen = []
    groups = int(labels.max()) + 1
    for label in range(groups):
        rows = np.flatnonzero(labels == label)
        order = np.random.default_rng([seed, label]).permutation(len(rows))
        chosen.append(rows[order[: number(len(rows))]])
    return np.sort(np.concatenate(chosen))


def divided(
    labels: np.ndarray, shares: Sequence[float], seed: int, known: np.ndarray | None = None
) -> np.ndarray:
    """Divide N images class by class, and return the part of each image, ``(N,)`` int.

    Without `known`, part 0 has at least one image of each class, and each part has at least one
    image.

    Args:
        labels: ``(N,)`` int.
        shares: share of each part. The sum is 1.
        seed: seed of the division.
        known: ``(N,)`` int: the parts of images that stay in their part; -1 for other images.

    Raises:
        ValueError: there are too few images.
    """
    parts = np.full(len(labels), -1) if known is None else known.copy()
    classes, counts = np.unique(labels, return_counts=True)
    wanted = _quotas(counts, shares)
    for number, label in enumerate(classes):
        rows = np.flatnonzero(labels == label) if len(classes) > 1 else np.arange(len(labels))
        there = parts[rows]
        lack = wanted[number] - np.bincount(there[there >= 0], minlength=len(shares))
        new = rows[there < 0]
        for row in new[np.random.default_rng([seed, number]).permutation(len(new))]:
            part = int((lack / shares).argmax())  # a part with too many leaves fewer for the others
            parts[row] = part
            lack[part] -= 1
    return parts


def _quotas(counts: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Return the number of images of each class in each part, ``(C, P)`` int.

    Each number is the part's share of the class, rounded up or down. The rounding balances the
    rounding of earlier classes, so each part gets its share of many small classes in total. Then
    part 0 gets at least one image of each class, and every part at least one image.

    Raises:
        ValueError: there are too few images.
    """
    exact = counts[:, None] * np.asarray(shares)  # (C, P)
    wanted = np.floor(exact + 1e-9).astype(int)
    owed = np.zeros(len(shares))
    for row, count in enumerate(counts):
        owed += exact[row] - wanted[row]
        for part in np.argsort(-owed, kind="stable")[: count - wanted[row].sum()]:
            wanted[row, part] += 1
            owed[part] -= 1
        if not wanted[row, 0]:
            giver = wanted[row].argmax()
            wanted[row, [0, giver]] += 1, -1
            owed[[0, giver]] += -1, 1
    for part in np.flatnonzero(wanted.sum(axis=0) == 0):
        giver = wanted[:, 0].argmax()
        if wanted[giver, 0] < 2:
            raise ValueError("fewer images than classes and further parts")
        wanted[giver, [0, part]] += -1, 1
    return wanted
