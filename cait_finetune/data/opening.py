"""From the configuration to a source: the reader it asks for, then the images it wants of it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cait_finetune.config import DatasetConfig
from cait_finetune.data.division import few_of_each_class, folded, share_of_each_class
from cait_finetune.data.source import ROLES, Source
from cait_finetune.errors import bad_value


def open_source(config: DatasetConfig) -> Source:
    """Find, check and divide the images, without decoding any.

    Raises:
        UserError: they are not there, cannot be read, or are not what the configuration says.
    """
    source = _reader(config.source)(config)
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
    return source


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
    from cait_finetune.data.tfds_source import open_tfds

    return open_tfds
