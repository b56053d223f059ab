"""Features of a frozen backbone, computed once per split and then fed to the head in batches."""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console

from cait_finetune.data.corrupt import CorruptImages
from cait_finetune.data.feature_cache import FeatureCache, Features
from cait_finetune.data.pipeline import evaluation_stream
from cait_finetune.data.preprocess import Preprocessing
from cait_finetune.data.sequence import WHOLE, Shard, batched, divided, equal_shares, shuffled
from cait_finetune.data.source import Source
from cait_finetune.runtime.progress import progress_bar
from cait_tf.fused.tensorflow import infer


class FrozenFeatures:
    """The features of a data set's splits, with the preprocessing of evaluation.

    Args:
        source: the data set.
        preprocessing: the preprocessing of evaluation.
        backbone: maps normalised images (B, H, W, 3) to features (B, D).
        facts: JSON-compatible facts about the backbone that its features depend on.
        cache: keeps the features for the next run. `None`: only memory keeps them.
        corrupt: the corrupt images of the run. Images that are left out here are added.
        batch_size: number of images per forward pass of the backbone.
        console: console for messages and the progress bar.
        batches: number of batches to compute per split. `None`: all. The cache is used only with
            `None`.
    """

    def __init__(
        self,
        source: Source,
        preprocessing: Preprocessing,
        backbone: Callable[..., tf.Tensor],
        facts: dict[str, Any],
        cache: FeatureCache | None,
        corrupt: CorruptImages,
        batch_size: int,
        console: Console,
        batches: int | None = None,
    ) -> None:
        self._source = source
        self._preprocessing = preprocessing
        self._run = tf.function(lambda images: infer(backbone, images), autograph=False)
        self._facts = facts
        self._cache = cache if batches is None else None
        self._batches = batches
        self._corrupt = corrupt
        self._batch_size = batch_size
        self._console = console
        self._known: dict[str, Features] = {}

    def __call__(self, split: str) -> Features:
        """Return the features of a split from memory or from the cache, or compute them.

        Raises:
            UserError: an image is corrupt and `dataset.on_corrupt` is ``stop``, or all images are
                corrupt.
        """
        if split not in self._known:
            features = self._known[split] = self._cached(split)
            self._corrupt.include(features.corrupt)
        return self._known[split]

    @tf.autograph.experimental.do_not_convert
    def train_batches(
        self,
        batch_size: int,
        seed: int,
        start: int = 0,
        shard: Shard = WHOLE,
        stack: int = 1,
        overfit: bool = False,
        balanced: bool = False,
    ) -> tf.data.Dataset:
        """Return an endless stream of ``(features (b, D), labels (b,) or (b, C), next position)``.

        The order is that of the training images if their shuffle buffer holds the whole split. The
        arguments are those of `data.pipeline.train_batches`; `balanced` is ``sampling=balanced``.
        """
        features = self("train")
        with tf.device("/cpu:0"):  # tf.data runs on the CPU
            values, labels = tf.constant(features.values), tf.constant(features.labels)
        count = len(features.labels)
        start = 0 if overfit else start
        rows = tf.data.Dataset.range(count)
        copies = None
        if balanced:
            classes = np.bincount(features.labels, minlength=len(self._source.class_names))
            of_label = equal_shares(classes)
            copies = lambda row: of_label(tf.gather(labels, row))  # noqa: E731
        sequence = shuffled(rows, count, count, seed, start, copies)
        if overfit:
            sequence = sequence.take(batch_size).repeat()
        examples = divided(sequence, batch_size, shard).map(
            lambda position, row: (tf.gather(values, row), tf.gather(labels, row), position)
        )
        return batched(examples, batch_size, shard, stack)

    def evaluation_batches(
        self, split: str, batch_size: int, shard: Shard = WHOLE
    ) -> tf.data.Dataset:
        """Return one pass in file order: ``(features (B, D), labels, real (B,) bool)``.

        Labels are ``(B,)`` or ``(B, C)``. Zeros, for which `real` is false, fill the last batches.
        """
        features = self(split)
        count = len(features.labels)
        missing = -count % (batch_size * shard.count * shard.replicas)
        arrays = (
            np.pad(features.values, [(0, missing), (0, 0)]),
            np.pad(features.labels, [(0, missing)] + [(0, 0)] * (features.labels.ndim - 1)),
            np.arange(count + missing) < count,
        )
        batches = tf.data.Dataset.from_tensor_slices(arrays).batch(batch_size, drop_remainder=True)
        return batches.shard(shard.count, shard.index)

    def _cached(self, split: str) -> Features:
        if self._cache is None:
            features, seconds = self._computed(split)
            self._say(split, features, f"computed in {seconds:.1f} s")
            return features
        images = self._source.stamp(split)
        name = f"{images['set']}-{split}".replace("/", "-")
        path = self._cache.path(name, self._all_facts(images))
        features = self._cache.load(path)
        if features:
            self._say(split, features, f"used again from {path}")
            return features
        features, seconds = self._computed(split)
        kept = f", kept in {path}" if self._cache.save(path, features) else ""
        self._say(split, features, f"computed in {seconds:.1f} s{kept}")
        return features

    def _all_facts(self, images: dict[str, Any]) -> dict[str, Any]:
        return {
            **self._facts,
            "tensorflow": tf.__version__,  # TensorFlow decodes and resizes the images
            "keras": keras.__version__,  # Keras has the backbone's layers
            "preprocessing": dataclasses.asdict(self._preprocessing),
            "images": images,
            "on_corrupt": self._corrupt.on_corrupt,
        }

    def _computed(self, split: str) -> tuple[Features, float]:
        """Compute the features of a split; return them and the seconds of the computation."""
        corrupt = CorruptImages(self._corrupt.on_corrupt)  # of this split only
        stream = evaluation_stream(
            self._source, split, self._preprocessing, self._batch_size, corrupt
        )
        values, labels = [], []
        started = time.perf_counter()
        with progress_bar(
            f"features of {split}", self._source.sizes[split], self._console
        ) as advance:
            for images, batch_labels, real in itertools.islice(stream, self._batches):
                values.append(self._run(images).numpy()[real])  # (≤ B, D)
                labels.append(batch_labels.numpy()[real])
                advance(len(labels[-1]))
        features = Features(
            np.concatenate(values).astype("float32"),
            np.concatenate(labels),
            tuple(corrupt.ids),
        )
        return features, time.perf_counter() - started

    def _say(self, split: str, features: Features, what: str) -> None:
        count, width = features.values.shape
        self._console.print(f"features of {split} {count:,} x {width}, {what}", highlight=False)
