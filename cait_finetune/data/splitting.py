"""Who trains, who validates, who tests: shares, folds, and a part of each class's images."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from cait_finetune.data.sorting import stored_order
from cait_finetune.data.source import SPLITS, Selection, Source
from cait_finetune.errors import bad_value


def folded(source: Source, folds: int, fold: int, seed: int) -> Selection:
    """Train and validation together, divided anew: part `fold` of `folds` is for validation.

    Each part has the classes in the shares of the whole. The test split stays as it is.

    Raises:
        UserError: there are fewer images, or fewer of every class, than folds.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    sizes = [source.sizes[split] for split in ("train", "validation")]
    labels = np.concatenate([source.labels(split) for split in ("train", "validation")])
    kind = KFold if source.multi_label else StratifiedKFold
    most = len(labels) if source.multi_label else int(np.bincount(labels).max())
    if folds > most:
        raise bad_value("dataset.folds", folds, f"at most {most}, the images of the largest class")
    divider = kind(folds, shuffle=True, random_state=seed)
    stratum = None if source.multi_label else labels
    training, validation = list(divider.split(np.zeros(len(labels)), stratum))[fold]

    def parts(rows: np.ndarray) -> list[tuple[str, np.ndarray]]:
        own = rows < sizes[0]
        return [("train", rows[own]), ("validation", rows[~own] - sizes[0])]

    return {
        "train": parts(training),
        "validation": parts(validation),
        "test": [("test", np.arange(source.sizes["test"]))],
    }


def by_class(source: Source, splits: Sequence[str], seed: int) -> Selection:
    """Divide the images of some splits among them anew: class by class, in their present sizes.

    The division depends on the seed, the labels and where the images are stored, and not on the
    order of reading. With several labels an image it is by chance alone.

    Raises:
        UserError: there are fewer images than classes and further splits.
    """
    sizes = np.array([source.sizes[split] for split in splits])
    ids = np.concatenate([source.ids(split) for split in splits])
    labels = np.concatenate([source.labels(split) for split in splits])
    order = stored_order(ids)
    strata = np.zeros(len(order), int) if source.multi_label else labels[order]
    part_of = np.empty(len(order), int)
    try:
        part_of[order] = divided(strata, sizes / sizes.sum(), seed)
    except ValueError as error:
        raise bad_value(
            "dataset.splits", f"{len(order)} images sorted by class", f"more of them ({error})"
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
    """Rows of the train split: `count` of each class, drawn by `seed`; all of a class that has fewer.

    More images of a class come on top of fewer, with the same seed: 10 contain the 5.

    Raises:
        UserError: images have several labels.
    """
    return _of_each_class(source, "dataset.examples_per_class", count, lambda size: count, seed)


def share_of_each_class(source: Source, share: float, seed: int) -> np.ndarray:
    """Rows of the train split: `share` of each class, rounded, but at least one image.

    A larger share comes on top of a smaller one, with the same seed: 20 % contain the 5 %.

    Raises:
        UserError: images have several labels.
    """

    def number(size: int) -> int:
        return max(1, round(share * size))

    return _of_each_class(source, "dataset.train_share", share, number, seed)


def _of_each_class(
    source: Source, key: str, value: float, number: Callable[[int], int], seed: int
) -> np.ndarray:
    """``number(size)`` rows of each class of that size, in file order."""
    if source.multi_label:
        raise bad_value(
            key,
            f"{value} with dataset.multi_label=true",
            "null there: an image counts for several classes",
        )
    labels = source.labels("train")
    chosen = []
    for label in range(len(source.class_names)):
        rows = np.flatnonzero(labels == label)
        order = np.random.default_rng([seed, label]).permutation(len(rows))
        chosen.append(rows[order[: number(len(rows))]])
    return np.sort(np.concatenate(chosen))


def divided(
    labels: np.ndarray, shares: Sequence[float], seed: int, known: np.ndarray | None = None
) -> np.ndarray:
    """For each of N images the part it belongs to, ``(N,)`` int: class by class in those shares.

    Of each class part 0 has at least one. `known` ``(N,)`` says where images are already, who stay;
    -1 is for the others.

    Raises:
        ValueError: there are too few images for each part to have one.
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
            part = int((lack / shares).argmax())  # those with too many leave the others short
            parts[row] = part
            lack[part] -= 1
    return parts


def _quotas(counts: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """How many of each class belong to each part, ``(C, P)``.

    A class has its share, rounded up or down such that those rounded so far balance: in many small
    classes each part gets its images.
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
