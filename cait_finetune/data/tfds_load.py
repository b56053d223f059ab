"""Open the TFDS set of a configuration: find and download it, choose its features and splits."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import socket
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import tensorflow_datasets as tfds

from cait_finetune.config import DatasetConfig
from cait_finetune.data.bands import RGB
from cait_finetune.data.image_files import storage
from cait_finetune.data.image_files.listing import is_image
from cait_finetune.data.source import SPLITS
from cait_finetune.data.targets.one_class import ONE_CLASS
from cait_finetune.data.targets.target import Target
from cait_finetune.data.tfds_features import find_class_names, find_keys, is_array, names_notes
from cait_finetune.data.tfds_source import TfdsSource
from cait_finetune.errors import UserError, bad_value, reason, suggest
from cait_finetune.runtime.locks import beside
from cait_tf.places import temporary_directory, usable_home, writable

logger = logging.getLogger(__name__)

#: Modules of sets that need no download and are made in a second.
_OF_DIGITS = tuple(
    f"cait_finetune.data.{name}"
    for name in ("digits", "turned_digits", "leaning_digits", "digit_pairs")
)
#: Modules of sets that need no download.
_MADE_HERE = (*_OF_DIGITS, "cait_finetune.data.procedural.builder")
_LOOKED_AT = 64  # entries of a folder
_VALIDATION_NAMES = ("validation", "val", "valid", "dev")


def load_tfds(config: DatasetConfig, target: Target = ONE_CLASS, channels: int = RGB) -> TfdsSource:
    """Find a TFDS set, download it if needed, and check it.

    Raises:
        UserError: the name is unknown. The set cannot be downloaded, has no labels of the kind
            `target`, or lacks a split.
    """
    builder = _place(_builder(config), config)
    image_key, label_key = find_keys(builder, config, target, channels)
    keys = (label_key,) if isinstance(label_key, str) else label_key
    features = [builder.info.features[key] for key in keys]
    if all(
        getattr(feature, "num_classes", 0) is not None for feature in features
    ):  # known before the set is prepared
        find_class_names(builder, label_key, config, target)  # raise errors before a download
    builder = _prepared(builder, config)
    class_names = find_class_names(builder, label_key, config, target)  # some are known only now
    specs, default_slices = _splits(builder, config)
    sizes = {}
    for split, spec in specs.items():
        try:
            sizes[split] = builder.info.splits[spec].num_examples
        except (ValueError, KeyError) as error:
            raise bad_value(
                f"dataset.splits.{split}", repr(spec), f"a split of {config.name} ({error})"
            ) from error
        if not sizes[split]:
            raise bad_value(f"dataset.splits.{split}", repr(spec), "a split with examples in it")
    source = TfdsSource(
        class_names=class_names,
        sizes=sizes,
        notes=(*names_notes(builder, label_key), *_splits_notes(specs, config)),
        target=target.named(class_names),
        builder=builder,
        image_key=image_key,
        as_array=is_array(builder.info.features[image_key]),
        label_key=label_key,
        splits=specs,
        default_slices=default_slices,
        parallel_files=config.parallel_files,
    )
    typed = tuple(config.class_names or class_names)
    return source if typed == class_names else source.in_order(typed)


def _refuse_class_folders(config: DatasetConfig) -> None:
    """Refuse a folder of the user's images as TFDS' folder, because TFDS would write into it.

    Raises:
        UserError: a folder in `dataset.data_dir` has image files directly inside.
    """
    root = config.data_dir
    if root is None or storage.is_remote(root) or not os.path.isdir(root):
        return
    for name in sorted(os.listdir(root))[:_LOOKED_AT]:
        folder = os.path.join(root, name)
        if os.path.isdir(folder) and any(map(is_image, os.listdir(folder)[:_LOOKED_AT])):
            raise bad_value(
                "dataset.data_dir", f"{root}, which has images in {name}", "a folder of TFDS",
                f"Set dataset=folder, or leave dataset.data_dir out for {config.name}.",
            )  # fmt: skip


def _builder(config: DatasetConfig) -> tfds.core.DatasetBuilder:
    storage.check_readable("dataset.data_dir", config.data_dir or "")
    _refuse_class_folders(config)
    # These imports register our own sets with TFDS.
    from cait_finetune.data import (  # noqa: F401
        aircraft,
        digit_pairs,
        leaning_digits,
        turned_digits,
    )
    from cait_finetune.data.procedural.builder import Procedural  # noqa: F401

    try:
        if config.source == "digits":
            from cait_finetune.data.digits import Digits

            return Digits(data_dir=config.data_dir)
        # Without `try_gcs=False` TFDS asks a bucket on the network for prepared copies.
        return tfds.builder(config.name, data_dir=config.data_dir, try_gcs=False)
    except tfds.core.registered.DatasetNotFoundError as error:
        raise bad_value(
            "dataset.name",
            repr(config.name),
            "the name of a TFDS data set (https://www.tensorflow.org/datasets/catalog), or of one "
            "that is prepared in dataset.data_dir",
            suggest(config.name.split("/")[0], tfds.list_builders()),
        ) from error
    except Exception as error:  # a builder's own code runs here: missing packages, bad versions
        raise UserError(
            f"dataset.name: got {config.name!r}, which TFDS cannot open: {error}"
        ) from error


def _root(builder: tfds.core.DatasetBuilder) -> Path:
    """Return the folder of all sets, the parent of each set's name/configuration/version folder."""
    return Path(builder.data_dir).parents[len(Path(builder.info.full_name).parts) - 1]


def _place(builder: tfds.core.DatasetBuilder, config: DatasetConfig) -> tfds.core.DatasetBuilder:
    """Return a builder whose set is prepared, or whose directory can be written.

    A set without a download uses a temporary directory if TFDS' own directory cannot be written. A
    configured `dataset.data_dir` is not checked here.

    Raises:
        UserError: the set needs a download, and TFDS' own directory cannot be written.
    """
    if config.data_dir is not None or builder.is_prepared():
        return builder
    root = _root(builder)
    if usable_home() or os.environ.get("TFDS_DATA_DIR"):
        try:
            root.mkdir(parents=True, exist_ok=True)
            if writable(root):
                return builder
            reason = "it is read-only"
        except OSError as error:
            reason = error.strerror or str(error)
        where = f"{root}, TFDS' default folder, which cannot be written ({reason})"
    else:
        where = "nothing, and no home directory"
    if type(builder).__module__ in _MADE_HERE:
        return _builder(dataclasses.replace(config, data_dir=temporary_directory()))
    raise bad_value(
        "dataset.data_dir", where, "a directory that can be written", "Set dataset.data_dir to one."
    )


def _prepared(builder: tfds.core.DatasetBuilder, config: DatasetConfig) -> tfds.core.DatasetBuilder:
    """Download and prepare the set if needed. One process does so; other processes wait."""
    if builder.is_prepared():
        return builder
    with _alone(builder):
        if builder.is_prepared():  # another process did; reload what it wrote
            return _builder(config)
        _prepare(builder, config)
    return builder


@contextlib.contextmanager
def _alone(builder: tfds.core.DatasetBuilder) -> Iterator[None]:
    """Hold the set's lock, a file in the folder of all sets.

    If the folder is new and the preparation fails, remove both again.
    """
    if storage.is_remote(str(builder.data_dir)):
        yield
        return
    root = _root(builder)
    made, place = not root.exists(), root / builder.name
    with contextlib.suppress(OSError):  # TFDS reports the error
        root.mkdir(parents=True, exist_ok=True)
    try:
        with storage.locked(str(place), says=_says_who_prepares(builder.name)):
            yield
    except UserError:
        if made:
            with contextlib.suppress(OSError):
                beside(place).unlink()
                root.rmdir()
        raise


def _says_who_prepares(name: str) -> Callable[[str], None]:
    return lambda who: logger.warning("%s: waiting for %s, which prepares it", name, who)


def _prepare(builder: tfds.core.DatasetBuilder, config: DatasetConfig) -> None:
    if type(builder).__module__ in _OF_DIGITS:
        tfds.disable_progress_bar()
    try:
        # Our own sets list their URLs in `URLS`, because TFDS has no checksums of them.
        for url in (*(builder.url_infos or ()), *getattr(builder, "URLS", ())):
            _resolve_host(url)
        builder.download_and_prepare()
    except Exception as error:  # network, disk, licence steps: TFDS raises many unrelated types
        own = type(builder).__module__
        if own in _MADE_HERE:
            raise bad_value(
                "dataset",
                config.name,
                f"a set that can be made in {builder.data_dir} ({reason(error)})",
                "Free some space there, or add dataset.data_dir=DIR",
            ) from error
        ours = f"{own}, " if own.startswith("cait_finetune") else ""
        raise bad_value(
            "dataset",
            config.name,
            f"a set that is prepared in {builder.data_dir} or can be downloaded; the download "
            f"failed: {reason(error)}",
            "On a machine with a network, run\n"
            f"    python -c \"import {ours}tensorflow_datasets as tfds; tfds.builder('{config.name}', "
            "data_dir='DIR').download_and_prepare()\"\n"
            "  copy DIR here and add dataset.data_dir=DIR",
        ) from error


def _resolve_host(url: str) -> None:
    """Raise OSError at once if there is no network, because TFDS would retry for minutes."""
    if urllib.request.getproxies():
        return  # the proxy resolves names, not this machine
    host = urllib.parse.urlparse(url).hostname
    if host:
        try:
            socket.getaddrinfo(host, 443)
        except OSError as error:
            raise OSError(f"{host} cannot be found ({error.strerror or error})") from error


def _splits_notes(specs: dict[str, str], config: DatasetConfig) -> list[str]:
    """Return a note on each default split that is not the set's split of the same name."""
    others = [
        f"{split} is {spec}"
        for split, spec in specs.items()
        if spec != split and not getattr(config.splits, split)
    ]
    return [f"split  {', '.join(others)}"] * bool(others)


def _splits(
    builder: tfds.core.DatasetBuilder, config: DatasetConfig
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the configured splits, and default splits of the set for the others.

    By default, validation and test never share images.

    Returns:
        A TFDS expression for each split, and the splits that are slices of ``train`` by default.
        The latter are empty if one of these slices is configured.

    Raises:
        UserError: a split is not configured, and the set has no ``train``.
    """
    has = list(builder.info.splits)
    chosen = {split: getattr(config.splits, split) for split in SPLITS}
    if all(chosen.values()):
        return chosen, ()
    if config.source == "digits":
        default = dict(zip(SPLITS, SPLITS, strict=True))
    elif "train" not in has:
        raise bad_value(
            "dataset.splits",
            "nothing",
            f"train=…, validation=… and test=…: {builder.name} has {', '.join(has)} and no train",
        )
    else:
        validation = next((name for name in _VALIDATION_NAMES if name in has), None)
        test = "test" if "test" in has else None
        if test and validation:
            default = {"train": "train", "validation": validation, "test": test}
        elif test or validation:
            default = {
                "train": "train[:90%]",
                "validation": "train[90%:]",
                "test": test or validation,
            }
        else:
            default = {
                "train": "train[:80%]",
                "validation": "train[80%:90%]",
                "test": "train[90%:]",
            }
    slices = tuple(split for split in SPLITS if "[" in default[split])
    if any(chosen[split] for split in slices):
        slices = ()
    return {split: chosen[split] or default[split] for split in SPLITS}, slices
