"""From the configuration to a source: the reader it asks for, then the images it wants of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from cait_finetune.config import DatasetConfig
from cait_finetune.data.division import (
    by_class,
    few_of_each_class,
    folded,
    share_of_each_class,
)
from cait_finetune.data.door import check_labels, check_splits
from cait_finetune.data.sorting import is_sorted
from cait_finetune.data.source import ROLES, Source
from cait_finetune.errors import bad_value


def open_source(config: DatasetConfig, roles: Sequence[str] = ROLES) -> Source:
    """Find, check and divide the images, without decoding any.

    Args:
        roles: the splits that will be used. The labels of others are not looked at.

    Raises:
        UserError: they are not there, cannot be read, or are not what the configuration says.
    """
    source = _reader(config.source)(config)
    by_label = config.folds or config.examples_per_class or config.train_share
    check_labels(source, ROLES if by_label else _all_with(source.default_slices, roles))
    source = _mixed_slices(source, config.splits.division_seed, roles)
    if config.folds:
        source = source.select(folded(source, config.folds, config.fold, config.draw_seed))
    if config.examples_per_class:
        chosen = few_of_each_class(source, config.examples_per_class, config.draw_seed)
        source = _trained_on(source, chosen)
    if config.train_share:
        chosen = share_of_each_class(source, config.train_share, config.draw_seed)
        source = _trained_on(source, chosen)
    for role in ROLES:
        if not source.sizes[role]:
            raise bad_value(f"dataset.splits.{role}", "no image", "a split with images in it")
    check_splits(source, config, roles)
    return source


def _all_with(slices: Sequence[str], roles: Sequence[str]) -> list[str]:
    """The roles, and the other slices of what one of them is a slice of."""
    together = set(slices) if set(slices) & set(roles) else set()
    return [role for role in ROLES if role in {*roles, *together}]


def _mixed_slices(source: Source, seed: int, roles: Sequence[str]) -> Source:
    """Divide a set class by class where default slices of it would be a class or two each."""
    slices = source.default_slices
    if not set(slices) & set(roles):
        return source
    if not is_sorted(np.concatenate([source.labels(role) for role in slices])):
        return source
    divided = source.select(by_class(source, slices, seed))
    how = "by chance" if source.multi_label else "class by class"
    note = f"split  the set is sorted by class, so {' and '.join(slices)} are divided {how}"
    return dataclasses.replace(divided, notes=(*divided.notes, note))


def _trained_on(source: Source, rows: np.ndarray) -> Source:
    """The same with only some rows of the train split."""
    whole = {role: [(role, np.arange(source.sizes[role]))] for role in ROLES}
    return source.select({**whole, "train": [("train", rows)]})


def _reader(name: str) -> Callable[[DatasetConfig], Source]:
    """Imported when asked for: TFDS takes seconds, and a folder does not need it."""
    if name == "folder":
        from cait_finetune.data.own_images.folder import open_folder

        return open_folder
    if name == "csv":
        from cait_finetune.data.own_images.table import open_table

        return open_table
    if name == "imagenet_folder":
        from cait_finetune.data.own_images.imagenet_folder import open_imagenet_folder

        return open_imagenet_folder
    from cait_finetune.data.tfds_opening import open_tfds

    return open_tfds
