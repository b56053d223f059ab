"""Images in class folders, as a source beside TFDS."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import tensorflow as tf

from cait_finetune.config import DatasetConfig
from cait_finetune.data.source import Source
from cait_finetune.errors import bad_value
from cait_tf.imagenet import class_names, synsets

_SYNSET = re.compile(r"n\d{8}")
_ENDINGS = {".jpg", ".jpeg", ".png"}


@dataclasses.dataclass(frozen=True)
class FolderSource(Source):
    """Files and labels, the same for every split: there is one set of images."""

    files: tuple[tuple[str, int], ...] = ()

    def examples(self, role: str) -> tf.data.Dataset:
        """Undecoded examples, ordered by path."""
        root = Path(self.splits[role])
        ids = [str(Path(path).relative_to(root)) for path, _ in self.files]
        paths, labels = zip(*self.files, strict=True)
        return tf.data.Dataset.from_tensor_slices((ids, list(paths), list(labels))).map(
            lambda name, path, label: {
                "id": name,
                "image": tf.io.read_file(path),
                "label": tf.cast(label, tf.int32),
            }
        )

    def fingerprint(self, role: str) -> dict[str, Any]:
        """As `Source.fingerprint`."""
        stats = [Path(path).stat() for path, _ in self.files]
        files = [
            [path, label, stat.st_size, int(stat.st_mtime)]
            for (path, label), stat in zip(self.files, stats, strict=True)
        ]
        return {"set": "imagenet_folder", "examples": len(files), "files": files}


def open_imagenet_folder(config: DatasetConfig) -> FolderSource:
    """ImageNet-1k images in folders named by synset, such as ``n01440764/ILSVRC2012_val_0001.JPEG``.

    Labels follow the order of all 1000 synsets, also where some folders are missing.

    Raises:
        UserError: no such directory, no synset folder in it, a folder that is no synset of
            ImageNet-1k, or no image.
    """
    key = "dataset.data_dir"
    if config.data_dir is None:
        raise bad_value(key, "nothing", "the folder with the synset folders", f"add {key}=DIR")
    root = Path(config.data_dir).expanduser()
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
    files = tuple(
        (str(path), order[folder.name])
        for folder in folders
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in _ENDINGS
    )
    if not files:
        raise bad_value(key, root, f"images ({', '.join(sorted(_ENDINGS))}) in its folders")
    roles = ("train", "validation", "test")
    return FolderSource(
        builder=None,
        image_key="image",
        label_key="label",
        class_names=class_names(),
        splits=dict.fromkeys(roles, str(root)),
        sizes=dict.fromkeys(roles, len(files)),
        files=files,
    )
