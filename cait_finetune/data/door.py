"""Check an open data set, whichever reader opened it."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import re
from collections.abc import Sequence

import numpy as np

from cait_finetune.config import DatasetConfig
from cait_finetune.data.image_files.class_list import check_classes, some, warn_of_near_names
from cait_finetune.data.sorting import is_mixed, is_sorted
from cait_finetune.data.source import SPLITS, Source
from cait_finetune.errors import UserError, bad_value

logger = logging.getLogger(__name__)

_SHOWN = 3


def check_labels(source: Source, splits: Sequence[str] = SPLITS) -> None:
    """Check that each label is in the class list. Call this before dividing a set by its labels.

    Raises:
        UserError: a split has no labels, or labels outside the class list.
    """
    for split in splits:
        rows, values = source.strangers(split)
        if not len(rows):
            continue
        examples = np.unique(rows)
        if not source.target.has_classes:
            raise _not_finite(source, split, rows, values)
        if len(examples) == source.sizes[split] and (values == -1).all():
            raise _unlabelled(source, split)
        ids = source.ids(split)
        last = len(source.class_names) - 1
        found = [str(value) for value in np.unique(values)]
        raise bad_value(
            f"dataset.splits.{split}",
            f"{len(examples):,} image{'s' * (len(examples) > 1)} with labels outside the class list: "
            f"{some(found)} ({some([str(ids[row]) for row in examples[:_SHOWN]])})",
            f"labels 0 to {last}, the {last + 1} classes {some(source.class_names)}"
            if source.target.one_list
            else f"numbers below the classes of each label: {source.target.described(source.class_names)}",
            _mend_labels(source, int(values.max())),
        )


def leave_out_unlabelled(source: Source, splits: Sequence[str] = SPLITS) -> Source:
    """Leave out the images of these splits that have no label, and note their number in the source.

    Raises:
        UserError: no image of a split has a label.
    """
    rows = {split: np.arange(source.sizes[split]) for split in SPLITS}
    lacking = {split: source.target.unlabelled(source.labels(split)) for split in splits}
    for split, without in lacking.items():
        rows[split] = np.setdiff1d(rows[split], without)
        if not len(rows[split]):
            raise _unlabelled(source, split)
    if not any(map(len, lacking.values())):
        return source
    counts = ", ".join(f"{len(one):,} {split}" for split, one in lacking.items())
    note = f"labels images without any label are left out: {counts}"
    left = source.select({split: [(split, rows[split])] for split in SPLITS})
    return dataclasses.replace(left, notes=(*left.notes, note))


def _not_finite(source: Source, split: str, rows: np.ndarray, values: np.ndarray) -> UserError:
    ids, names = source.ids(split), source.class_names
    shown = [
        f"{ids[row]}: {' '.join(source.target.label_texts(label, names))}"
        for row, label in zip(rows[:_SHOWN], values, strict=False)
    ]
    return bad_value(
        f"dataset.splits.{split}",
        f"{len(rows):,} image{'s' * (len(rows) > 1)} with a number that is not finite: {some(shown)}",
        "finite numbers",
        "Correct the numbers, or choose splits without these images",
    )


def _unlabelled(source: Source, split: str) -> UserError:
    spec = source.splits.get(split, split)
    names = source.split_names()
    hint = "Choose a split with labels, or label these images"
    if split != "train" and "train" in names:
        used = re.match(r"[^\[+]*", spec)[0]
        other = next((name for name in names if name not in ("train", used)), None)
        parts = ["train[:90%]", "train[90%:]", other]
        if other is None:
            parts = ["train[:80%]", "train[80%:90%]", "train[90%:]"]
        typed = [
            f"'dataset.splits.{one}=\"{part}\"'" for one, part in zip(SPLITS, parts, strict=True)
        ]
        hint = f"Set {' '.join(typed)}"
    return bad_value(
        f"dataset.splits.{split}",
        f"{spec!r}, whose {source.sizes[split]:,} images have no label (-1)",
        "a split with labels",
        hint,
    )


def _mend_labels(source: Source, largest: int) -> str:
    if source.target.one_list and largest >= len(source.class_names):
        return f"Set dataset.num_classes={largest + 1}, or correct the labels"
    return "Correct the labels, or choose splits without these images"


def check_splits(source: Source, config: DatasetConfig, splits: Sequence[str] = SPLITS) -> None:
    """Check the classes and images of train, validation and test.

    The function warns of classes that validation or test lack, of images in two splits or with two
    labels, and of names that hardly differ. If a TFDS set is sorted by class, the function warns of
    slices and of a small shuffle buffer. The function checks nothing if the set is for evaluation
    only, or if `splits` lacks one of the three.

    Raises:
        UserError: a class has no image to train on, or a target is the same number in all of train.
    """
    if config.evaluation_only or set(splits) != set(SPLITS):
        return
    source.target.check_train(source.labels("train"), source.class_names, config)
    if source.target.has_classes:
        warn_of_near_names(source.class_names)
        check_classes(
            source.class_names,
            {split: source.class_counts(split) for split in SPLITS},
            needs_each_class=source.target.needs_each_class,
            listed=config.source in ("folder", "csv"),
        )
    _warn_of_twice(source, contents_compared=source.light_records and config.check)
    if not source.light_records:
        _warn_of_slices(source)
        _warn_of_buffer(source, config.shuffle_buffer)


def _warn_of_twice(source: Source, contents_compared: bool) -> None:
    """Warn of ids that are in two splits, or have two labels.

    Args:
        contents_compared: whether another check compares contents, and warns of images in two splits.
    """
    ids = {split: source.ids(split) for split in SPLITS}
    if len(set().union(*ids.values())) == sum(map(len, ids.values())):
        return
    if not source.light_records:  # a table's reader warns of repeated rows itself
        for split, of_split in ids.items():
            if twice := len(of_split) - len(set(of_split)):
                logger.warning("%s images are in %s several times", f"{twice:,}", split)
    if not contents_compared:
        _warn_of_shared({split: set(of_split) for split, of_split in ids.items()})
    first: dict[str, object] = {}
    several: dict[str, str] = {}
    for split in SPLITS:
        for one, label in zip(ids[split], source.labels(split).tolist(), strict=True):
            if first.setdefault(one, label) != label:
                several.setdefault(one, f"{_words(source, first[one])} and {_words(source, label)}")
    if several:
        shown = [f"{one} ({labels})" for one, labels in several.items()]
        logger.warning(
            "%s several times, with different labels: %s",
            "1 image is listed" if len(shown) == 1 else f"{len(shown):,} images are listed",
            some(shown),
        )


def _words(source: Source, label: int | list[float]) -> str:
    return "|".join(source.target.label_texts(np.asarray(label), source.class_names)) or "no class"


def _warn_of_shared(ids: dict[str, set[str]]) -> None:
    shared, too_high = [], []
    for first, second in itertools.combinations(SPLITS, 2):
        both = sorted(ids[first] & ids[second])
        if both:
            shown = ", ".join(both[:_SHOWN]) + ", …" * (len(both) > _SHOWN)
            shared.append(f"{len(both):,} in {first} and {second} ({shown})")
            too_high.append(second)
    if shared:
        logger.warning(
            "images in two splits: %s; the %s accuracy will be too high",
            ", ".join(shared),
            " and ".join(split for split in SPLITS if split in too_high),
        )


def _warn_of_slices(source: Source) -> None:
    """Warn of configured slices of a sorted set: each slice has only some of the classes."""
    sliced: dict[str, list[str]] = {}
    for split in SPLITS:
        base, bracket, _ = source.splits.get(split, "").partition("[")
        if bracket and split not in source.default_slices:
            sliced.setdefault(base, []).append(split)
    for base, splits in sliced.items():
        labels = np.concatenate([source.labels(split) for split in splits])
        if not any(map(is_sorted, source.target.columns(labels))):
            continue
        if not source.target.has_classes:
            logger.warning(
                "%s is sorted by a target, and a slice of it has only some of the numbers; set "
                "dataset.splits.{train,validation,test}=null to divide it by quantiles",
                base,
            )
            continue
        total = len(source.class_names)
        found = [
            f"{split} {source.splits[split]} has {(source.class_counts(split) > 0).sum()} of {total}"
            for split in splits
        ]
        logger.warning(
            "%s is sorted by class, and a slice of it has only some of the classes: %s; set "
            "dataset.splits.{train,validation,test}=null to divide it class by class",
            base,
            ", ".join(found),
        )


def _warn_of_buffer(source: Source, buffer: int) -> None:
    columns = source.target.columns(source.labels("train"))
    size = source.sizes["train"]
    if not all(is_mixed(column, buffer) for column in columns):
        one, several = (
            ("class", "classes") if source.target.has_classes else ("a target", "numbers")
        )
        logger.warning(
            "train is sorted by %s, and dataset.shuffle_buffer=%d mixes few of its %s at a "
            "time; set dataset.shuffle_buffer=%d, which holds all of train in memory",
            one,
            buffer,
            several,
            size,
        )
