"""ImageNet-1k images in folders named by synset."""

from __future__ import annotations

import re

import numpy as np
from etils import epath

from cait_finetune.config import DatasetConfig
from cait_finetune.data.own_images.files import ENDINGS, Files, FileSource
from cait_finetune.data.source import ROLES
from cait_finetune.errors import bad_value
from cait_tf.imagenet import class_names, synsets

_SYNSET = re.compile(r"n\d{8}")


def open_imagenet_folder(config: DatasetConfig) -> FileSource:
    """ImageNet-1k images in folders named by synset, such as ``n01440764/ILSVRC2012_val_0001.JPEG``.

    Labels follow the order of all 1000 synsets, also where some folders are missing.

    Raises:
        UserError: no such directory, no synset folder in it, a folder that is no synset of
            ImageNet-1k, or no image.
    """
    key = "dataset.data_dir"
    if config.data_dir is None:
        raise bad_value(key, "nothing", "the folder with the synset folders", f"add {key}=DIR")
    root = epath.Path(config.data_dir).expanduser()
    if not root.is_dir():
        raise bad_value(key, root, "an existing folder")
    order = {synset: label for label, synset in enumerate(synsets())}
    folders = sorted(folder for folder in root.iterdir() if folder.is_dir())
    strangers = [folder.name for folder in folders if folder.name not in order]
    if not folders or strangers:
        missing = "no folder" if not folders else f"with {strangers[0]}"
        hint = ""
        if not any(_SYNSET.fullmatch(name) for name in (folder.name for folder in folders)):
            hint = "the images must be sorted into folders by class; valprep.sh of PyTorch does it"
        raise bad_value(
            key, f"{root}, {missing}", "folders named by ImageNet-1k synsets (n01440764, …)", hint
        )
    found = [
        (str(path), str(path.relative_to(root)), order[folder.name])
        for folder in folders
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in ENDINGS
    ]
    if not found:
        raise bad_value(key, root, f"images ({', '.join(ENDINGS)}) in its folders")
    paths, ids, labels = zip(*found, strict=True)
    files = Files(np.array(paths), np.array(ids), np.array(labels, np.int32))
    return FileSource(
        class_names=class_names(),
        sizes=dict.fromkeys(ROLES, len(files)),
        name="imagenet_folder",
        files=dict.fromkeys(ROLES, files),  # there is one set of images
    )
