"""TFDS data sets, and those of our own that are built in the same way."""

from __future__ import annotations

import dataclasses
import socket
import urllib.parse
import urllib.request
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from cait_finetune.config import DatasetConfig
from cait_finetune.data.own_images import storage
from cait_finetune.data.source import ROLES, Selection, Source
from cait_finetune.data.tfds_features import find_class_names, find_keys
from cait_finetune.errors import UserError, bad_value, suggest

_VALIDATION_NAMES = ("validation", "val", "valid", "dev")


@dataclasses.dataclass(frozen=True)
class TfdsSource(Source):
    """A prepared TFDS set; ``splits`` maps each role to a TFDS split expression."""

    builder: tfds.core.DatasetBuilder = None
    image_key: str = "image"
    label_key: str = "label"
    splits: dict[str, str] = dataclasses.field(default_factory=dict)
    parallel_files: int | None = None
    selection: Selection | None = None
    _labels: dict[str, np.ndarray] = dataclasses.field(default_factory=dict, compare=False)

    def records(self, role: str) -> tf.data.Dataset:
        """As `Source.records`; they hold the bytes already, as TFDS keeps both in one place."""
        return self._dataset(role, (self.image_key, "tfds_id", self.label_key))

    def read(self, record: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """As `Source.read`."""
        return record

    @tf.autograph.experimental.do_not_convert
    def labels(self, role: str) -> np.ndarray:
        """As `Source.labels`; reads the whole split once, without decoding an image."""
        if role not in self._labels:
            label = self._dataset(role, (self.label_key,)).map(lambda one: one["label"])
            parts = list(label.batch(1024).as_numpy_iterator())
            self._labels[role] = np.concatenate(parts)
        return self._labels[role]

    @tf.autograph.experimental.do_not_convert
    def ids(self, role: str) -> np.ndarray:
        """As `Source.ids`: ``tf_flowers-train.tfrecord-00000-of-00002__12``, TFDS' own."""
        ids = self._dataset(role, ("tfds_id", self.label_key)).map(lambda one: one["id"])
        return np.array([one.decode() for one in ids.as_numpy_iterator()], object)

    def select(self, selection: Selection) -> TfdsSource:
        """As `Source.select`."""
        if self.selection is not None:
            selection = _of_the_set(self.selection, selection)
        sizes = {role: sum(len(rows) for _, rows in parts) for role, parts in selection.items()}
        return dataclasses.replace(self, sizes=sizes, selection=selection, _labels={})

    def stamp(self, role: str) -> dict[str, Any]:
        """As `Source.stamp`."""
        files = []
        for path in sorted(self.builder.data_path.iterdir()):
            stat = path.stat()
            files.append([path.name, stat.length, stat.mtime])
        parts = [(role, None)] if self.selection is None else self.selection[role]
        return {
            "set": self.builder.info.full_name,
            "keys": [self.image_key, self.label_key],
            "classes": len(self.class_names) if self.multi_label else None,
            "split": [
                [self.splits[part], None if rows is None else np.sort(rows).tolist()]
                for part, rows in parts
            ],
            "examples": self.sizes[role],
            "files": files,
        }

    @tf.autograph.experimental.do_not_convert
    def _dataset(self, role: str, keys: tuple[str, ...]) -> tf.data.Dataset:
        if self.selection is None:
            return self._whole(role, keys)
        parts = [
            _rows(self._whole(part, keys), rows) for part, rows in self.selection[role] if len(rows)
        ]
        whole = parts[0]
        for part in parts[1:]:
            whole = whole.concatenate(part)
        return whole

    def _whole(self, role: str, keys: tuple[str, ...]) -> tf.data.Dataset:
        """Of one of the set's own splits, what those features say, under our names."""
        skip = {self.image_key: tfds.decode.SkipDecoding()} if self.image_key in keys else {}
        wanted = {key: True for key in keys if key != "tfds_id"}
        reading = {"interleave_cycle_length": self.parallel_files} if self.parallel_files else {}
        dataset = self.builder.as_dataset(
            split=self.splits[role],
            decoders=tfds.decode.PartialDecoding(wanted, decoders=skip),
            read_config=tfds.ReadConfig(
                add_tfds_id="tfds_id" in keys,
                skip_prefetch=True,  # what follows has its own
                **reading,
            ),
        )

        def renamed(example: dict) -> dict[str, tf.Tensor]:
            named = {"label": self._label(example[self.label_key])}
            if "tfds_id" in keys:
                named["id"] = example["tfds_id"]
            if self.image_key in keys:
                named["image"] = example[self.image_key]
            return named

        return dataset.map(renamed)

    def _label(self, label: Any) -> tf.Tensor:
        if not self.multi_label:
            return tf.cast(label, tf.int32)
        if isinstance(label, dict):  # an attribute each
            return tf.stack([tf.cast(label[name], tf.float32) for name in self.class_names])
        classes = tf.one_hot(tf.cast(label, tf.int32), len(self.class_names))  # (n, C)
        return tf.minimum(tf.reduce_sum(classes, axis=0), 1.0)  # (C,)


def _of_the_set(selected: Selection, selection: Selection) -> Selection:
    """A selection of what was selected, as one of what the set has."""
    composed = {}
    for role, parts in selection.items():
        composed[role] = []
        for part, rows in parts:
            first = 0
            for own, own_rows in selected[part]:
                inside = rows[(rows >= first) & (rows < first + len(own_rows))] - first
                composed[role].append((own, np.sort(own_rows)[inside]))
                first += len(own_rows)
    return composed


def _rows(dataset: tf.data.Dataset, rows: np.ndarray) -> tf.data.Dataset:
    wanted = np.zeros(int(rows.max()) + 1, bool)
    wanted[rows] = True
    chosen = tf.constant(wanted)
    return (
        dataset.take(len(wanted))
        .enumerate()
        .filter(lambda row, _: chosen[row])
        .map(lambda _, example: example)
    )


def open_tfds(config: DatasetConfig) -> TfdsSource:
    """Find, if needed download, and check a TFDS set.

    Raises:
        UserError: an unknown name, a set that cannot be downloaded, is no classification set, lacks
            a split, or has labels outside the class list.
    """
    builder = _builder(config)
    image_key, label_key = find_keys(builder, config)
    find_class_names(builder, label_key, config)  # what is wrong is said before a download
    _prepare(builder, config)
    class_names = find_class_names(builder, label_key, config)  # some are learnt by preparing
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
    source = TfdsSource(
        class_names=class_names,
        sizes=sizes,
        multi_label=config.multi_label,
        builder=builder,
        image_key=image_key,
        label_key=label_key,
        splits=splits,
        parallel_files=config.parallel_files,
    )
    feature = builder.info.features[label_key]
    if not config.multi_label and not isinstance(feature, tfds.features.ClassLabel):
        _check_labels(source)
    return source


def _builder(config: DatasetConfig) -> tfds.core.DatasetBuilder:
    storage.check_readable("dataset.data_dir", config.data_dir or "")
    if config.source == "digits":
        from cait_finetune.data.digits import Digits

        return Digits(data_dir=config.data_dir)
    # Sets of our own, which TFDS then knows by name.
    from cait_finetune.data import aircraft  # noqa: F401
    from cait_finetune.data.procedural.builder import Procedural  # noqa: F401

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


def _splits(builder: tfds.core.DatasetBuilder, config: DatasetConfig) -> dict[str, str]:
    """The configured splits, and for those left out what the set has; never validate on test."""
    has = list(builder.info.splits)
    chosen = {role: getattr(config.splits, role) for role in ROLES}
    if all(chosen.values()):
        return chosen
    if config.source == "digits":
        default = dict(zip(ROLES, ROLES, strict=True))
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
    return {role: chosen[role] or default[role] for role in ROLES}


def _check_labels(source: TfdsSource) -> None:
    """A plain integer label may be anything: read them all, once, without decoding an image."""
    for role in ROLES:
        labels = source.labels(role)
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= len(source.class_names):
            raise bad_value(
                "dataset.num_classes",
                len(source.class_names),
                f"more than every label; split {role} has labels {low} to {high}",
            )
