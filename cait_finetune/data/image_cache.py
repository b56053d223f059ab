"""Keep decoded images in memory or on disk, so that each image is decoded once."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import psutil
import tensorflow as tf
from rich.console import Console
from rich.filesize import decimal

from cait_finetune.config import DatasetConfig
from cait_finetune.config.places import expanded_path
from cait_finetune.data.corrupt import CorruptImages, explained
from cait_finetune.data.preprocess import Preprocessing
from cait_finetune.data.source import Source
from cait_finetune.errors import bad_value
from cait_finetune.runtime.progress import progress_bar
from cait_tf.atomic import atomic_path, write_text

_FORMAT = 2
_SAMPLE = 64  # images to decode for an estimate
_SHARE = 0.8  # share of the free memory or disk space that a split may take


class ImageCache:
    """Examples with decoded images: ``image`` is a decoded image instead of the file's bytes.

    Args:
        source: the undecoded examples.
        config: `dataset.cache`, `dataset.cache_dir` and the options of reading.
        preprocessing: decodes the images.
        corrupt: the corrupt images of the run. Images that are left out here are added.
        console: console for messages and the progress bar.
    """

    def __init__(
        self,
        source: Source,
        config: DatasetConfig,
        preprocessing: Preprocessing,
        corrupt: CorruptImages,
        console: Console,
    ) -> None:
        self._source = source
        self._config = config
        self._preprocessing = preprocessing
        self._corrupt = corrupt
        self._console = console

    @tf.autograph.experimental.do_not_convert
    def __call__(self, split: str) -> tf.data.Dataset | None:
        """Return the decoded examples of a split in file order; `None` with ``dataset.cache=none``.

        A cache in memory fills when the examples are first read. A cache on disk is written by this
        call, unless an earlier run has written it.

        Raises:
            UserError: the images would not fit. On disk also: the directory cannot be written, an
                image is corrupt and `dataset.on_corrupt` is ``stop``, or all images are corrupt.
        """
        if self._config.cache == "none":
            return None
        if self._config.cache == "memory":
            needed = self.estimate(split)
            self._refuse(split, needed, psutil.virtual_memory().available, "disk")
            self._console.print(
                f"images of {split} take about {decimal(int(needed))} decoded, kept in memory",
                highlight=False,
            )
            return self._decoded(split).cache()
        return self._on_disk(split)

    @tf.autograph.experimental.do_not_convert
    def estimate(self, split: str) -> float:
        """Estimate the bytes of a split's decoded images from a sample."""
        records = self._source.records(split)
        if self._source.light_records:  # in other sources, to skip a record is to read it
            records = records.shard(max(1, self._source.sizes[split] // _SAMPLE), 0)
        sizes = (
            records.take(_SAMPLE)
            .map(self._source.read)
            .map(lambda example: tf.size(self._preprocessing.decode(example["image"])))
            .ignore_errors()
        )
        sample = list(sizes.as_numpy_iterator())
        bytes_each = self._preprocessing.dtype.size
        return float(np.mean(sample)) * bytes_each * self._source.sizes[split] if sample else 0.0

    def _refuse(self, split: str, needed: float, free: float, instead: str) -> None:
        if needed > _SHARE * free:
            raise bad_value(
                "dataset.cache",
                f"{self._config.cache}, for {self._source.sizes[split]:,} {split} images that take "
                f"{decimal(int(needed))} decoded",
                f"at most {_SHARE:.0%} of the {decimal(free)} that are free",
                f"use dataset.cache={instead}",
            )

    def _decoded(self, split: str) -> tf.data.Dataset:
        def decoded(example: dict) -> dict:
            example = self._source.read(example)
            return {**example, "image": self._preprocessing.decode(example["image"])}

        stand_in = {
            "id": tf.constant(""),
            "image": tf.zeros((0, 0, self._preprocessing.channels), self._preprocessing.dtype),
            "label": self._source.target.blank(len(self._source.class_names)),
        }
        if self._source.weighted:
            stand_in["weight"] = tf.constant(0.0)
        return self._corrupt.attempt(
            self._source.records(split),
            self._source.sizes[split],
            decoded,
            stand_in,
            self._config.parallel_calls,
            explained(self._source, self._preprocessing),
        )

    def _on_disk(self, split: str) -> tf.data.Dataset:
        facts = {
            "images": self._source.stamp(split),
            "upright": self._preprocessing.upright,
            "tensorflow": tf.__version__,  # TensorFlow decodes the images
            "format": _FORMAT,
        }
        if self._preprocessing.bands:
            facts["channels"] = self._preprocessing.channels
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:24]
        directory = expanded_path("dataset.cache_dir", self._config.cache_dir)
        path = directory / f"{self._config.name.replace('/', '-')}-{split}-{digest}.tfrecord"
        facts_file = path.with_suffix(".json")
        corrupt = _whole(path, facts_file)
        if corrupt is None:
            corrupt = self._write(split, path, facts_file)
        else:
            self._console.print(f"images of {split} used again from {path}", highlight=False)
        self._corrupt.include(corrupt)
        self._corrupt.check()
        records = tf.data.TFRecordDataset(str(path), buffer_size=8 << 20)
        return records.skip(1).map(self._parse)  # the first record is the file's name

    def _write(self, split: str, path: Path, facts_file: Path) -> list[str] | dict[str, str]:
        """Fill the cache; return the ids of corrupt images, or the reasons by id."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(path.parent).free
            self._refuse(split, self.estimate(split), free, "none")
            met = CorruptImages(self._corrupt.on_corrupt)  # only this split's
            with atomic_path(path) as partial:
                self._fill(split, partial, path.name, met)
                size = partial.stat().st_size
            corrupt = met.reasons or met.ids
            write_text(
                facts_file, json.dumps({"name": path.name, "corrupt": corrupt, "bytes": size})
            )
        except OSError as error:
            raise bad_value(
                "dataset.cache_dir",
                f"{path.parent} ({error.strerror})",
                "a directory that can be written",
            ) from error
        self._console.print(
            f"images of {split} decoded, {decimal(size)} kept in {path}", highlight=False
        )
        return corrupt

    def _fill(self, split: str, path: Path, name: str, met: CorruptImages) -> None:
        cache = ImageCache(self._source, self._config, self._preprocessing, met, self._console)
        with (
            tf.io.TFRecordWriter(str(path)) as writer,
            progress_bar(f"decoding {split}", self._source.sizes[split], self._console) as advance,
        ):
            writer.write(name.encode())
            try:
                for example in cache._decoded(split).as_numpy_iterator():
                    met.check()
                    writer.write(_serialised(example))
                    advance()
            except tf.errors.OpError as error:
                met.explain(error)
                raise
            met.check()

    def _parse(self, record: tf.Tensor) -> dict[str, tf.Tensor]:
        text, target = tf.io.FixedLenFeature((), tf.string), self._source.target
        shape = target.shape(len(self._source.class_names))
        features = {
            "id": text,
            "image": text,
            "shape": tf.io.FixedLenFeature((3,), tf.int64),
            "label": tf.io.FixedLenFeature(shape, tf.float32),
        }
        if self._source.weighted:
            features["weight"] = tf.io.FixedLenFeature((), tf.float32)
        example = tf.io.parse_single_example(record, features)
        pixels = tf.reshape(
            tf.io.decode_raw(example["image"], self._preprocessing.dtype), example.pop("shape")
        )
        pixels.set_shape((None, None, self._preprocessing.channels))
        label = tf.cast(example["label"], target.dtype)
        return {**example, "image": pixels, "label": label}


def _whole(path: Path, facts_file: Path) -> list[str] | dict[str, str] | None:
    """Return what `_write` returned; `None` if the cache is missing or incomplete.

    Also `None`: the cache is a copy of another cache, so it states another name.
    """
    try:
        facts = json.loads(facts_file.read_text(encoding="utf-8"))  # written after the images
        if path.stat().st_size != facts["bytes"] or facts["name"] != path.name:
            return None
        first = next(iter(tf.data.TFRecordDataset(str(path)).take(1).as_numpy_iterator()), b"")
        return facts["corrupt"] if first == path.name.encode() else None
    except (OSError, ValueError, KeyError, TypeError, tf.errors.OpError):
        return None


def _serialised(example: dict[str, np.ndarray]) -> bytes:
    def floats(values: np.ndarray) -> tf.train.Feature:
        return tf.train.Feature(float_list=tf.train.FloatList(value=np.ravel(values)))

    def text(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    features = {
        "id": text(example["id"]),
        "image": text(example["image"].tobytes()),
        "shape": tf.train.Feature(int64_list=tf.train.Int64List(value=example["image"].shape)),
        "label": floats(example["label"]),  # float32 is exact for integers up to 2^24
    }
    if "weight" in example:
        features["weight"] = floats(example["weight"])
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
