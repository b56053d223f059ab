"""Open the data set of a configuration: choose its reader, then select the images."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from cait_finetune.config import DatasetConfig
from cait_finetune.data.bands import RGB
from cait_finetune.data.door import check_labels, check_splits, leave_out_unlabelled
from cait_finetune.data.sorting import is_sorted
from cait_finetune.data.source import SPLITS, Source
from cait_finetune.data.splitting import (
    by_class,
    few_of_each_class,
    folded,
    share_of_each_class,
)
from cait_finetune.data.targets.one_class import ONE_CLASS
from cait_finetune.data.targets.target import Target
from cait_finetune.errors import bad_value

_SHOWN = 5  # classes in a note


def load_source(
    config: DatasetConfig,
    target: Target = ONE_CLASS,
    splits: Sequence[str] = SPLITS,
    channels: int = RGB,
) -> Source:
    """Find, check and divide the images, without decoding any.

    Args:
        config: the keys of `dataset`.
        target: the kind of label.
        splits: the splits that the caller will use. The labels of other splits are checked only if
            the division depends on them.
        channels: channels of an image, `model.in_channels`. Other formats are read if it is not 3.

    Raises:
        UserError: the images are missing, cannot be read, or contradict the configuration.
    """
    target.check_config(config)
    source = _read(config, target, channels)
    by_label = config.folds or config.examples_per_class or config.train_share
    used = SPLITS if by_label else _all_with(source.default_slices, splits)
    check_labels(source, used)
    source = leave_out_unlabelled(source, used)
    source, mixed = _mixed_slices(source, config.splits.split_seed, splits)
    if config.splits.seed is not None and config.source in ("tfds", "digits"):
        drawn = by_label and config.draw_seed == config.splits.seed
        source = source if mixed or drawn else _with_unused_seed(source)
    if config.folds:
        source = source.select(folded(source, config.folds, config.fold, config.draw_seed))
        counts = " / ".join(f"{source.sizes[split]:,}" for split in SPLITS)
        note = f"split  {counts}, fold {config.fold} of {config.folds} of train and validation, drawn by seed {config.draw_seed}"
        source = dataclasses.replace(source, notes=(*_without_splits(source.notes), note))
    if config.examples_per_class:
        chosen = few_of_each_class(source, config.examples_per_class, config.draw_seed)
        source = _with_small_classes(source, config.examples_per_class)
        source = _trained_on(source, chosen)
    if config.train_share:
        chosen = share_of_each_class(source, config.train_share, config.draw_seed)
        source = _trained_on(source, chosen)
    for split in SPLITS:
        if not source.sizes[split]:
            raise bad_value(f"dataset.splits.{split}", "no image", "a split with images in it")
    check_splits(source, config, splits)
    return source


def _all_with(slices: Sequence[str], splits: Sequence[str]) -> list[str]:
    """Return `splits`, and all of `slices` if `splits` contain one of them."""
    together = set(slices) if set(slices) & set(splits) else set()
    return [split for split in SPLITS if split in {*splits, *together}]


def _mixed_slices(source: Source, seed: int, splits: Sequence[str]) -> tuple[Source, bool]:
    """Divide a sorted set class by class, because its default slices would lack most classes.

    Returns:
        The source, and whether the function divided it.
    """
    slices = source.default_slices
    if not set(slices) & set(splits):
        return source, False
    labels = np.concatenate([source.labels(split) for split in slices])
    if not any(map(is_sorted, source.target.columns(labels))):
        return source, False
    divided = source.select(by_class(source, slices, seed))
    by, how = "class", "class by class" if source.target.stratified else "by chance"
    if not source.target.has_classes:
        by, how = "a target", "by quantiles of the targets"
    note = f"split  the set is sorted by {by}, so {' and '.join(slices)} are divided {how}"
    return dataclasses.replace(divided, notes=(*_without_splits(divided.notes), note)), True


def _with_unused_seed(source: Source) -> Source:
    """Return the source with the note that `dataset.splits.seed` had no effect."""
    note = "split  dataset.splits.seed has no effect: the set is not sorted, so its slices are not drawn"
    return dataclasses.replace(source, notes=(*source.notes, note))


def _without_splits(notes: Sequence[str]) -> list[str]:
    """Return the notes without those on splits, which another division replaces."""
    return [note for note in notes if not note.startswith("split  ")]


def _with_small_classes(source: Source, count: int) -> Source:
    """Return the source with a note if classes have fewer than `count` training images."""
    counts = np.bincount(source.labels("train"), minlength=len(source.class_names))
    small = np.flatnonzero(counts < count)
    if not len(small):
        return source
    shown = ", ".join(f"{source.class_names[label]} {counts[label]:,}" for label in small[:_SHOWN])
    more = ", …" if len(small) > _SHOWN else ""
    note = f"split  {len(small):,} of {len(counts):,} classes have fewer than {count:,} training images: {shown}{more}"  # fmt: skip
    return dataclasses.replace(source, notes=(*source.notes, note))


def _trained_on(source: Source, rows: np.ndarray) -> Source:
    """Return the source with only these rows of the train split."""
    whole = {split: [(split, np.arange(source.sizes[split]))] for split in SPLITS}
    return source.select({**whole, "train": [("train", rows)]})


def _read(config: DatasetConfig, target: Target, channels: int) -> Source:
    """Read the set. Only TFDS sets need TFDS, which is slow to import.

    Raises:
        UserError: folders cannot hold labels of the kind `target`; or in the cases of the reader.
    """
    if config.source in ("tfds", "digits"):
        from cait_finetune.data.tfds_load import load_tfds

        return load_tfds(config, target, channels)
    if config.source == "csv":
        from cait_finetune.data.image_files.table import load_table

        return load_table(config, target, channels != RGB)
    if not target.in_folders:
        raise bad_value(
            "task",
            f"{target.task} with dataset.source={config.source}",
            "classification: in folders an image has one class",
            "List the images in a table: dataset=csv",
        )
    if config.source == "folder":
        from cait_finetune.data.image_files.folder import load_folder

        return load_folder(config, channels != RGB)
    if config.source == "imagenet_folder":
        from cait_finetune.data.image_files.imagenet_folder import load_imagenet_folder

        return load_imagenet_folder(config)
    raise AssertionError(config.source)
