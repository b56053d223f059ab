"""Load images from one folder per class, with or without folders for train, validation and test."""

from __future__ import annotations

import dataclasses
import logging
import os
import re

import numpy as np

from cait_finetune.config import DatasetConfig
from cait_finetune.config.advice import advise
from cait_finetune.data.image_files import storage
from cait_finetune.data.image_files.assembly import Listing, assembled
from cait_finetune.data.image_files.band_files import channels_advice
from cait_finetune.data.image_files.class_list import class_list, in_order, outside, some
from cait_finetune.data.image_files.files import Files, FileSource
from cait_finetune.data.image_files.listing import BANDS_ENDINGS, ENDINGS, LeftOut, is_image
from cait_finetune.data.image_files.splits import planned, usual_split
from cait_finetune.data.source import SPLITS
from cait_finetune.errors import bad_value

logger = logging.getLogger(__name__)

_KEY = "dataset.data_dir"
_MOST_SPLITS = 5


@dataclasses.dataclass(frozen=True)
class _Found:
    """The files in the folders.

    Attributes:
        images: paths of the images by (part, class). The part is empty without split folders.
        astray: paths of images that are in no class folder.
        left_out: files that are not images, and output directories of commands.
    """

    images: dict[tuple[str, str], list[str]]
    astray: list[str]
    left_out: LeftOut


def load_folder(config: DatasetConfig, bands: bool = False) -> FileSource:
    """Load ``DIR/CLASS/**/image`` or ``DIR/SPLIT/CLASS/**/image``. See `planned` for the splits.

    The classes are `dataset.class_names`, or the class folders of train in the order of `in_order`.
    The loader skips litter (see `listing`). It also skips all other files that are not images, and
    notes their number.

    Args:
        bands: as in `listing.is_image`.

    Raises:
        UserError: the folder does not exist or has no class folders; a class has no image, or is not in
            the class list or in train; or in the cases of `planned` and `assembled`.
    """
    if config.data_dir is None:
        raise bad_value(
            _KEY, "nothing", "the folder that has a folder for each class", f"add {_KEY}=DIR"
        )
    root = storage.located(_KEY, config.data_dir, "folder")
    inside = storage.entries(root)
    folders = [
        name for name, is_folder in inside if is_folder and not _holds_outputs(f"{root}/{name}")
    ]
    if not folders:
        with_images = any(is_image(name, bands) for name, _ in inside)
        what = "which has images and no folder" if with_images else "which has no folder"
        what = what if inside else "an empty folder"
        above, name = os.path.split(os.path.abspath(root))
        hint = ""
        if with_images and not storage.is_remote(root) and len(storage.entries(above)) > 1:
            parent = advise(_KEY, os.path.dirname(config.data_dir) or ".")
            hint = (
                f"If {name} is one of the classes: {parent}; for images without labels: "
                f"cait-finetune predict run=RUN {advise('images', config.data_dir)}"
            )
        raise bad_value(
            _KEY, f"{root}, {what}", "a folder for each class: DIR/CLASS/image.jpg", hint
        )
    parts = _parts(config, root, folders)
    if not parts and not config.class_names:
        _check_classes(root, folders)
    plan = planned(config, parts, root)
    read = sorted(set(plan.parts.values())) or [""]
    found = _found(root, read, bands)
    if parts:
        found.astray.extend(
            name for name, is_folder in inside if not is_folder and is_image(name, bands)
        )
    notes = _notes(found)
    hidden = [name for name in sorted(storage.names(root)) if _is_hidden_folder(root, name)]
    if hidden:
        notes.append(f"files  hidden folders left out: {some(hidden)}")
    unread = [name for name in folders if parts and name not in read]
    if unread:
        notes.append(f"files  folders that are no split are not read: {some(unread)}")
    for split, part in plan.parts.items():
        if not any(paths for (one, _), paths in found.images.items() if one == part):
            _explain_empty(split, part, found, root, bands)
    names = _class_names(config, root, found, plan.parts.get("train", ""), bands)

    label = {name: number for number, name in enumerate(names)}
    rows = [
        (path, part, label[name])
        for (part, name), paths in sorted(found.images.items())
        for path in paths
    ]
    ids = np.array([path for path, _, _ in rows], object)
    paths = np.array([f"{root}/{path}" for path in ids], object)
    labels = np.array([number for _, _, number in rows], np.int32)
    listing = Listing(
        files=Files(paths, ids, labels),
        parts=np.array([part for _, part, _ in rows]),
        plan=plan,
        class_names=names,
        split_file=f"{root}/cait_splits.csv",
        notes=tuple(notes),
    )
    return assembled(config, listing, bands)


def _parts(config: DatasetConfig, root: str, folders: list[str]) -> list[str]:
    """Return the folders if they are splits, or an empty list if they are classes.

    The folders are splits in three cases. Otherwise even a folder named train is a class.

    - ``dataset.splits`` names a folder.
    - One folder has a name of train. Another has a name of validation or test, or a folder with the
      name of a split has folders in it.
    - All folders have names of splits, and one of them has folders in it.
    """
    if any(getattr(config.splits, split) for split in SPLITS):
        return folders
    usual = [name for name in folders if usual_split(name)]
    splits = {usual_split(name) for name in usual}
    divided = [name for name in usual if any(one for _, one in storage.entries(f"{root}/{name}"))]
    if "train" in splits and (len(splits) > 1 or divided):
        return folders
    return folders if divided and len(usual) == len(folders) else []


def _check_classes(root: str, folders: list[str]) -> None:
    """Check that class folders are no splits under unusual names, such as ``seg_train``.

    Raises:
        UserError: the names of several folders contain those of different splits, and these folders
            have folders in them.
    """

    def folders_in(name: str) -> list[str]:
        return [one for one, is_folder in storage.entries(f"{root}/{name}") if is_folder]

    meant = {split: name for name in reversed(folders) if (split := _split_in(name))}
    if len(meant) > 1 and all(map(folders_in, meant.values())):
        keys = " ".join(
            advise(f"dataset.splits.{split}", meant[split]) for split in SPLITS if split in meant
        )
        raise bad_value(
            _KEY,
            f"{root} with {some(sorted(meant.values()))}, which have folders in them",
            "a folder for each class, or splits under their usual names",
            f"Set {keys}, or list the classes in dataset.class_names.",
        )
    if 1 < len(folders) <= _MOST_SPLITS:
        first, *others = map(folders_in, folders)
        if len(first) > 1 and all(one == first for one in others):
            logger.warning(
                "the classes are %s, and each has the folders %s: set dataset.splits.train if they "
                "are splits", some(folders), some(first),
            )  # fmt: skip


def _split_in(name: str) -> str | None:
    """Return the split that a word of the name stands for, as in ``seg_train`` and ``TestSet``."""
    words = re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)
    return next(filter(None, map(usual_split, words)), None)


def _is_hidden_folder(root: str, name: str) -> bool:
    return name[0] == "." and os.path.isdir(f"{root}/{name}")


def _found(root: str, parts: list[str], bands: bool) -> _Found:
    images: dict[tuple[str, str], list[str]] = {}
    astray, left_out = [], LeftOut()
    for part in parts:
        folder = f"{root}/{part}" if part else root
        prefix = f"{part}/" if part else ""
        for name, is_folder in storage.entries(folder, left_out.outputs):
            if not is_folder:
                if is_image(name, bands):
                    astray.append(prefix + name)
                continue
            if _holds_outputs(f"{folder}/{name}"):
                left_out.outputs.append(f"{folder}/{name}")
                continue
            images[part, name] = []
            for path in storage.files_below(f"{folder}/{name}", root, left_out.outputs):
                if is_image(path, bands):
                    images[part, name].append(f"{prefix}{name}/{path}")
                else:
                    left_out.add(f"{folder}/{name}/{path}")
    return _Found(images, astray, left_out)


def _holds_outputs(folder: str) -> bool:
    """Return whether a folder has output directories of commands, and no other files."""
    if storage.is_remote(folder):
        return False
    with os.scandir(folder) as found:  # a class folder has a file, which ends the search at once
        if any(entry.is_file() for entry in found):
            return False
    outputs: list[str] = []
    files = storage.files_below(folder, outputs=outputs)
    return next(files, None) is None and bool(outputs)


def _notes(found: _Found) -> list[str]:
    notes = found.left_out.notes()
    if found.astray:
        notes.append(f"files  {len(found.astray):,} in no class folder were left out")
    inside: dict[str, set[str]] = {}
    for (part, name), paths in found.images.items():
        below = len(f"{part}/{name}/" if part else f"{name}/")
        folders = {path[below:].rpartition("/")[0].partition("/")[0] for path in paths}
        inside.setdefault(name, set()).update(folders)
    several = {name: sorted(folders - {""}) for name, folders in inside.items() if len(folders) > 1}
    if several:
        shown = some([f"{name} ({some(folders)})" for name, folders in sorted(several.items())])
        notes.append(f"files  folders inside a class folder are of that class: {shown}")
    return notes


def _class_names(
    config: DatasetConfig, root: str, found: _Found, train: str, bands: bool
) -> tuple[str, ...]:
    """Return the class names in label order. Remove empty folders of unknown classes from `found`.

    Raises:
        UserError: a class folder has images but is not in the class list, or a class folder of
            train has no image; or in the cases of `class_list`.
    """
    what = f"{root}/{train}" if train else root
    here = in_order(name for part, name in found.images if part == train)
    for name in here:
        if not found.images[train, name]:
            _explain_no_image(f"{what}/{name}", found, bands)
    if len(here) == 1 and not config.class_names:
        inner = [name for name, is_folder in storage.entries(f"{what}/{here[0]}") if is_folder]
        if len(inner) > 1:
            raise bad_value(
                _KEY,
                f"{what} with the one class {here[0]}",
                "two classes or more",
                f"if {some(inner)} are the classes: {_KEY}={what}/{here[0]}",
            )
    names = class_list(config, here, what)
    strangers: dict[str, list[str]] = {}
    for (part, name), paths in sorted(found.images.items()):
        if paths and name not in names:
            strangers.setdefault(name, []).append(part)
    if strangers and config.class_names:
        places = {
            name: f" (in {' and '.join(parts)})" if any(parts) else ""
            for name, parts in strangers.items()
        }
        raise outside(_KEY, places, names)
    if strangers:
        name, parts = next(iter(strangers.items()))
        raise bad_value(
            _KEY,
            f"class {name!r} in {' and '.join(parts)} but not in {train}",
            "images of each class to train on",
            "add some, or leave the class out",
        )
    for key in [key for key in found.images if key[1] not in names]:
        del found.images[key]  # these folders are empty
    return names


def _explain_no_image(folder: str, found: _Found, bands: bool) -> None:
    others = sorted(found.left_out.endings())
    endings = f"; there are files {some(others)}" if others else ""
    raise bad_value(
        _KEY,
        f"{folder}, a class without an image{endings}",
        f"at least one image of each class ({', '.join(BANDS_ENDINGS if bands else ENDINGS)})",
        _advice(found, folder, bands) or "add images, or remove the folder",
    )


def _advice(found: _Found, folder: str, bands: bool) -> str:
    """Return a line on `model.in_channels` if the folder has files of bands, else nothing."""
    below = os.path.join(os.path.abspath(folder), "")
    return (
        ""
        if bands
        else channels_advice([one for one in found.left_out.files if one.startswith(below)])
    )


def _explain_empty(split: str, part: str, found: _Found, root: str, bands: bool) -> None:
    loose = [path for path in found.astray if path.startswith(f"{part}/")]
    if loose:
        raise bad_value(
            f"dataset.splits.{split}",
            f"{part!r} with images that are in no class folder ({len(loose):,})",
            f"a folder for each class in it: {part}/CLASS/image.jpg",
            ""
            if split == "train"
            else f"These images have no class: move {part} elsewhere, and the loader takes a share "
            "of the other images instead.",
        )
    raise bad_value(
        f"dataset.splits.{split}",
        f"{part!r} without an image",
        "a split with images in it",
        _advice(found, f"{root}/{part}", bands),
    )
