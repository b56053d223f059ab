"""Load ImageNet-1k images from folders named by synset."""

from __future__ import annotations

import re

import numpy as np

from cait_finetune.config import DatasetConfig
from cait_finetune.data.image_files import storage
from cait_finetune.data.image_files.assembly import Listing, assembled
from cait_finetune.data.image_files.class_list import some
from cait_finetune.data.image_files.files import Files, FileSource
from cait_finetune.data.image_files.listing import ENDINGS, is_image
from cait_finetune.data.image_files.splits import planned
from cait_finetune.errors import bad_value
from cait_tf.imagenet import class_names, synsets

_KEY = "dataset.data_dir"
_SYNSET = re.compile(r"n\d{8}")


def load_imagenet_folder(config: DatasetConfig) -> FileSource:
    """Load ImageNet-1k images such as ``DIR/n01440764/ILSVRC2012_val_00000293.JPEG``.

    Labels are the positions in the list of all 1000 synsets, even if some folders are missing. With
    `evaluation_only` each split has all images. Otherwise the images are divided by the shares.

    Raises:
        UserError: the directory does not exist, has no folder, has a folder that is not a synset of
            ImageNet-1k, or has no image; `dataset.class_names` is set; or in the cases of `assembled`.
    """
    if config.data_dir is None:
        raise bad_value(_KEY, "nothing", "the folder with the synset folders", f"add {_KEY}=DIR")
    _check_keys(config)
    root = storage.located(_KEY, config.data_dir, "folder")
    order = {synset: label for label, synset in enumerate(synsets())}
    folders = [name for name, is_folder in storage.entries(root) if is_folder]
    strangers = [name for name in folders if name not in order]
    if not folders or strangers:
        missing = f"with {strangers[0]}" if strangers else "no folder"
        hint = ""
        if not any(map(_SYNSET.fullmatch, folders)):
            hint = "the images must be sorted into folders by class; valprep.sh of PyTorch does it"
        raise bad_value(
            _KEY, f"{root}, {missing}", "folders named by ImageNet-1k synsets (n01440764, …)", hint
        )
    found = [
        (f"{folder}/{path}", order[folder])
        for folder in folders
        for path in storage.files_below(f"{root}/{folder}", root)
        if is_image(path)
    ]
    if not found:
        raise bad_value(_KEY, root, f"images ({', '.join(ENDINGS)}) in its folders")
    ids = np.array([path for path, _ in found], object)
    paths = np.array([f"{root}/{path}" for path in ids], object)
    labels = np.array([label for _, label in found], np.int32)
    listing = Listing(
        files=Files(paths, ids, labels),
        parts=np.full(len(ids), ""),
        plan=planned(config, [], root),
        class_names=class_names(),
        split_file=f"{root}/cait_splits.csv",
    )
    return assembled(config, listing)


def _check_keys(config: DatasetConfig) -> None:
    """Raise UserError if a key is set that the synsets determine."""
    if config.class_names is not None:
        raise bad_value(
            "dataset.class_names",
            some(config.class_names),
            "null with dataset.source=imagenet_folder, whose classes are ImageNet's 1000",
            "Leave the key out, or read the folder with dataset=folder",
        )
