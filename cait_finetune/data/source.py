"""Where the images come from: a TFDS data set, its classes and its three splits."""

from __future__ import annotations

import dataclasses
import socket
import urllib.parse
import urllib.request
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds

from cait_finetune.config import DatasetConfig
from cait_finetune.errors import UserError, bad_value, suggest

_ROLES = ("train", "validation", "test")
_VALIDATION_NAMES = ("validation", "val", "valid", "dev")


@dataclasses.dataclass(frozen=True)
class Source:
    """A prepared data set.

    ``splits`` maps train, validation and test to TFDS split expressions, ``sizes`` to their numbers
    of examples. ``class_names`` is in label order.
    """

    builder: tfds.core.DatasetBuilder
    image_key: str
    label_key: str
    class_names: tuple[str, ...]
    splits: dict[str, str]
    sizes: dict[str, int]

    def examples(self, role: str) -> tf.data.Dataset:
        """Undecoded examples of a split, in file order: ``id`` and ``image`` bytes, ``label``."""
        dataset = self.builder.as_dataset(
            split=self.splits[role],
            decoders={self.image_key: tfds.decode.SkipDecoding()},
            read_config=tfds.ReadConfig(add_tfds_id=True),
        )
        return dataset.map(
            lambda example: {
                "id": example["tfds_id"],
                "image": example[self.image_key],
                "label": tf.cast(example[self.label_key], tf.int32),
            }
        )

    def fingerprint(self, role: str) -> dict[str, Any]:
        """What changes when the examples of a split do; the files are told by size and time."""
        files = []
        for path in sorted(self.builder.data_path.iterdir()):
            stat = path.stat()
            files.append([path.name, stat.length, stat.mtime])
        return {
            "set": self.builder.info.full_name,
            "split": self.splits[role],
            "examples": self.sizes[role],
            "files": files,
        }


def open_source(config: DatasetConfig) -> Source:
    """Find, if needed download, and check a data set.

    Raises:
        UserError: an unknown name, a set that cannot be downloaded, is no classification set, lacks
            a split, or has labels outside the class list.
    """
    if config.source == "imagenet_folder":
        from cait_finetune.data.folder import open_imagenet_folder

        return open_imagenet_folder(config)
    builder = _builder(config)
    image_key, label_key = _keys(builder)
    class_names = _class_names(builder, label_key, config)
    _prepare(builder, config)
    splits = _splits(builder, config)
    sizes = {}
    for role, split in splits.items():
        try:
            sizes[role] = builder.info.splits[split].num_examples
        except (ValueError, KeyError) as error:
            raise bad_value(
                f"dataset.splits.{role}", repr(split), f"a split of {config.name} ({error})"
            ) from error
        if not sizes[role]:
            raise bad_value(f"dataset.splits.{role}", repr(split), "a split with examples in it")
    source = Source(builder, image_key, label_key, class_names, splits, sizes)
    if not isinstance(builder.info.features[label_key], tfds.features.ClassLabel):
        _check_labels(source)
    return source


def _builder(config: DatasetConfig) -> tfds.core.DatasetBuilder:
    if config.source == "digits":
        from cait_finetune.data.digits import Digits

        return Digits(data_dir=config.data_dir)
    try:
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


def _prepare(builder: tfds.core.DatasetBuilder, config: DatasetConfig) -> None:
    if builder.is_prepared():
        return
    if config.source == "digits":
        tfds.disable_progress_bar()  # it takes a second
    try:
        for url in builder.url_infos or ():
            _resolve_host(url)
        builder.download_and_prepare()
    except Exception as error:  # network, disk, licence steps: TFDS raises many unrelated types
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise bad_value(
            "dataset",
            config.name,
            f"a set that is prepared in {builder.data_dir} or can be downloaded; the download "
            f"failed: {reason}",
            "Where there is a network, run\n"
            f"    python -c \"import tensorflow_datasets as tfds; tfds.builder('{config.name}', "
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


def _keys(builder: tfds.core.DatasetBuilder) -> tuple[str, str]:
    """The names of the image and the label feature."""
    features = builder.info.features
    keys = builder.info.supervised_keys
    candidates = [keys] if isinstance(keys, tuple) and len(keys) == 2 else []
    candidates.append(("image", "label"))
    for image_key, label_key in candidates:
        if (
            image_key in features
            and label_key in features
            and isinstance(features[image_key], tfds.features.Image)
            and features[label_key].shape == ()
            and tf.as_dtype(features[label_key].dtype).is_integer
        ):
            return image_key, label_key
    raise bad_value(
        "dataset.name",
        builder.name,
        f"a set with one image and one class label in each example; it has {', '.join(features)}",
    )


def _class_names(
    builder: tfds.core.DatasetBuilder, label_key: str, config: DatasetConfig
) -> tuple[str, ...]:
    feature = builder.info.features[label_key]
    names = list(feature.names) if isinstance(feature, tfds.features.ClassLabel) else []
    count = config.num_classes or len(names)
    if not count:
        raise bad_value(
            "dataset.num_classes",
            "nothing",
            f"the number of classes, which {builder.name} does not state",
        )
    if count < len(names):
        raise bad_value(
            "dataset.num_classes",
            count,
            f"at least {len(names)}, the number of labels of {builder.name}",
        )
    return tuple(names + [f"class_{label}" for label in range(len(names), count)])


def _splits(builder: tfds.core.DatasetBuilder, config: DatasetConfig) -> dict[str, str]:
    """The configured splits, and for those left out what the set has; never validate on test."""
    has = list(builder.info.splits)
    chosen = {role: getattr(config.splits, role) for role in _ROLES}
    if all(chosen.values()):
        return chosen
    if config.source == "digits":
        default = dict(zip(_ROLES, _ROLES, strict=True))
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
    return {role: chosen[role] or default[role] for role in _ROLES}


def _check_labels(source: Source) -> None:
    """A plain integer label may be anything: read them all, once, without decoding an image."""
    for role in _ROLES:
        labels = [int(example["label"]) for example in source.examples(role)]
        low, high = min(labels), max(labels)
        if low < 0 or high >= len(source.class_names):
            raise bad_value(
                "dataset.num_classes",
                len(source.class_names),
                f"more than every label; split {role} has labels {low} to {high}",
            )
