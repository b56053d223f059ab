"""Who trains, who validates, who tests: folds, and a few images of each class."""

from __future__ import annotations

import numpy as np

from cait_finetune.data.source import Selection, Source
from cait_finetune.errors import bad_value


def folded(source: Source, folds: int, fold: int, seed: int) -> Selection:
    """Train and validation together, divided anew: part `fold` of `folds` is for validation.

    Each part has the classes in the shares of the whole. The test split stays as it is.

    Raises:
        UserError: there are fewer images, or fewer of every class, than folds.
    """
    from sklearn.model_selection import KFold, StratifiedKFold

    sizes = [source.sizes[role] for role in ("train", "validation")]
    labels = np.concatenate([source.labels(role) for role in ("train", "validation")])
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


def few_of_each_class(source: Source, count: int, seed: int) -> np.ndarray:
    """Rows of the train split: `count` of each class, drawn by `seed`; all of a class that has fewer.

    More images of a class come on top of fewer, with the same seed: 10 contain the 5.

    Raises:
        UserError: images have several labels.
    """
    if source.multi_label:
        raise bad_value(
            "dataset.examples_per_class",
            f"{count} with dataset.multi_label=true",
            "null there: an image counts for several classes",
        )
    labels = source.labels("train")
    chosen = []
    for label in range(len(source.class_names)):
        rows = np.flatnonzero(labels == label)
        order = np.random.default_rng([seed, label]).permutation(len(rows))
        chosen.append(rows[order[:count]])
    return np.sort(np.concatenate(chosen))
