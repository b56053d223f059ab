"""From the configuration to a TFDS set: found, downloaded, its features and splits chosen."""

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
from cait_finetune.data.image_files import storage
from cait_finetune.data.source import SPLITS
from cait_finetune.data.tfds_features import find_class_names, find_keys, names_notes
from cait_finetune.data.tfds_source import TfdsSource
from cait_finetune.errors import UserError, bad_value, suggest
from cait_finetune.runtime.locks import beside
from cait_tf.places import temporary_directory, usable_home, writable

logger = logging.getLogger(__name__)

#: Modules of sets that need no download.
_MADE_HERE = ("cait_finetune.data.digits", "cait_finetune.data.procedural.builder")
_VALIDATION_NAMES = ("validation", "val", "valid", "dev")


def load_tfds(config: DatasetConfig) -> TfdsSource:
    """Find, if needed download, and check a TFDS set.

    Raises:
        UserError: an unknown name, a set that cannot be downloaded, is no classification set, or
            lacks a split.
    """
    builder = _place(_builder(config), config)
    image_key, label_key = find_keys(builder, config)
    feature = builder.info.features[label_key]
    if getattr(feature, "num_classes", 0) is not None:  # it is known without preparing
        find_class_names(builder, label_key, config)  # what is wrong is said before a download
    builder = _prepared(builder, config)
    class_names = find_class_names(builder, label_key, config)  # some are learnt by preparing
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
        notes=names_notes(builder, label_key),
        multi_label=config.multi_label,
        builder=builder,
        image_key=image_key,
        label_key=label_key,
        splits=specs,
        default_slices=default_slices,
        parallel_files=config.parallel_files,
    )
    typed = tuple(config.class_names or class_names)
    return source if typed == class_names else source.in_order(typed)


def _builder(config: DatasetConfig) -> tfds.core.DatasetBuilder:
    storage.check_readable("dataset.data_dir", config.data_dir or "")
    # Sets of our own, which TFDS then knows by name.
    from cait_finetune.data import aircraft  # noqa: F401
    from cait_finetune.data.procedural.builder import Procedural  # noqa: F401

    try:
        if config.source == "digits":
            from cait_finetune.data.digits import Digits

            return Digits(data_dir=config.data_dir)
        # Without this TFDS asks a bucket on the network for ready-made copies.
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
    """The folder of all sets, below which one has a folder for its name, configuration and version."""
    return Path(builder.data_dir).parents[len(Path(builder.info.full_name).parts) - 1]


def _place(builder: tfds.core.DatasetBuilder, config: DatasetConfig) -> tfds.core.DatasetBuilder:
    """The builder in a directory that can be written, unless the set is prepared.

    A set that is made here goes to a temporary directory where TFDS' own place cannot be written.

    Raises:
        UserError: a set that needs a download has no place to go to.
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
        where = f"{root}, TFDS' own place, which cannot be written ({reason})"
    else:
        where = "nothing, and no home directory"
    if type(builder).__module__ in _MADE_HERE:
        return _builder(dataclasses.replace(config, data_dir=temporary_directory()))
    raise bad_value(
        "dataset.data_dir", where, "a directory that can be written", "Set dataset.data_dir to one."
    )


def _prepared(builder: tfds.core.DatasetBuilder, config: DatasetConfig) -> tfds.core.DatasetBuilder:
    """Download and prepare the set where it is not; one process does, others wait for it."""
    if builder.is_prepared():
        return builder
    with _alone(builder):
        if builder.is_prepared():  # another process did; this builder does not know the examples
            return _builder(config)
        _prepare(builder, config)
    return builder


@contextlib.contextmanager
def _alone(builder: tfds.core.DatasetBuilder) -> Iterator[None]:
    """Hold the set's lock, in the folder of all sets, which is not left where nothing was prepared."""
    if storage.is_remote(str(builder.data_dir)):
        yield
        return
    root = _root(builder)
    made, place = not root.exists(), root / builder.name
    with contextlib.suppress(OSError):  # TFDS says what is wrong with it
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
    if config.source == "digits":
        tfds.disable_progress_bar()  # it takes a second
    try:
        # A set of our own names its addresses itself: TFDS has no checksums of it.
        for url in (*(builder.url_infos or ()), *getattr(builder, "URLS", ())):
            _resolve_host(url)
        builder.download_and_prepare()
    except Exception as error:  # network, disk, licence steps: TFDS raises many unrelated types
        own = type(builder).__module__
        ours = f"{own}, " if own.startswith("cait_finetune") else ""
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise bad_value(
            "dataset",
            config.name,
            f"a set that is prepared in {builder.data_dir} or can be downloaded; the download "
            f"failed: {reason}",
            "Where there is a network, run\n"
            f"    python -c \"import {ours}tensorflow_datasets as tfds; tfds.builder('{config.name}', "
            "data_dir='DIR').download_and_prepare()\"\n"
            "  copy DIR here and add dataset.data_dir=DIR",
        ) from error


def _resolve_host(url: str) -> None:
    """Raise OSError at once where there is no network; TFDS would retry for minutes."""
    if urllib.request.getproxies():
        return  # the proxy resolves names, not this machine
    host = urllib.parse.urlparse(url).hostname
    if host:
        try:
            socket.getaddrinfo(host, 443)
        except OSError as error:
            raise OSError(f"{host} cannot be found ({error.strerror or error})") from error


def _splits(
    builder: tfds.core.DatasetBuilder, config: DatasetConfig
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the configured splits, and for those left out what the set has; never validate on test.

    Returns:
        A TFDS expression for each split, and the splits that divide ``train`` among them as nobody
        configured.
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
