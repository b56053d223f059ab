"""The batch streams of a run, divided among the devices of its strategy."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator

import keras
import tensorflow as tf
from rich.console import Console

from cait_finetune import model as models
from cait_finetune.config import Config
from cait_finetune.data.augmentation.mixing import mixes
from cait_finetune.data.corrupt import CorruptImages, Guarded
from cait_finetune.data.decode_check import check_decoding, least_training_seconds
from cait_finetune.data.feature_cache import FeatureCache
from cait_finetune.data.features import FrozenFeatures
from cait_finetune.data.image_cache import ImageCache
from cait_finetune.data.pipeline import evaluation_batches, train_batches
from cait_finetune.data.preprocess import Preprocessing, configured
from cait_finetune.data.sequence import WHOLE, Shard
from cait_finetune.data.source import Source
from cait_finetune.errors import bad_value
from cait_finetune.optim.length import Length
from cait_finetune.train.distribution import distributed
from cait_tf.places import cache_path, warn_not_kept

#: Batches per split under ``debug=fast_dev_run``.
FAST_BATCHES = 2


def preprocessing_of(config: Config) -> Preprocessing:
    """Return the configured preprocessing. The model variant supplies the defaults."""
    variant = models.check(config.model)
    return configured(
        config.preprocessing,
        variant,
        config.model.image_size,
        config.dataset.upright,
        config.model.in_channels,
    )


def check_pairs(config: Config, strategy: tf.distribute.Strategy) -> None:
    """Check that every input pipeline gets whole pairs of images, if mixup or CutMix is on.

    Raises:
        UserError: a pipeline gets an odd number of images per batch.
    """
    pipelines = strategy.num_replicas_in_sync // len(strategy.extended.worker_devices)
    mixed = mixes(config.augment) and not config.tuning.cache_features
    if mixed and config.train.batch_size // pipelines % 2:
        raise bad_value(
            "train.batch_size",
            config.train.batch_size,
            f"a multiple of {2 * pipelines}, as images are mixed in pairs",
        )


@dataclasses.dataclass(frozen=True)
class Streams:
    """Build the batch streams of training and evaluation.

    Attributes:
        features: features of a frozen backbone. Training and validation then get features instead
            of images. `None`: they get images.
        images: the cache of decoded training images. `None`: each pass decodes the files.
    """

    source: Source
    config: Config
    preprocessing: Preprocessing
    corrupt: CorruptImages
    strategy: tf.distribute.Strategy
    features: FrozenFeatures | None = None
    images: ImageCache | None = None
    _passes: dict[str, Guarded] = dataclasses.field(default_factory=dict)

    def training(self, position: int) -> Iterator:
        """Return the endless iterator over training batches.

        Args:
            position: number of images that training has already drawn.
        """
        train = self.config.train
        overfit = self.config.debug.mode == "overfit_batch"

        def from_features(index: int, count: int, replicas: int) -> tf.data.Dataset:
            return self.features.train_batches(
                train.batch_size,
                self.config.seed,
                position,
                Shard(index, count, replicas),
                train.steps_per_execution,
                overfit,
                self.config.dataset.sampling == "balanced",
            )

        def from_images(careful: bool, done: int) -> Iterable:
            # The first `done` batches left out no image, so they contain exactly this many images.
            start = position + done * train.batch_size * train.steps_per_execution

            def build(index: int, count: int, replicas: int) -> tf.data.Dataset:
                return train_batches(
                    self.source,
                    self.config.dataset,
                    self.config.augment,
                    self.preprocessing,
                    train.batch_size,
                    self.config.seed,
                    self.corrupt,
                    start=start,
                    shard=Shard(index, count, replicas),
                    overfit=overfit,
                    stack=train.steps_per_execution,
                    decoded=self._decoded,
                    careful=careful,
                )

            return distributed(self.strategy, build)

        if self.features:
            return iter(distributed(self.strategy, from_features))
        return iter(self._guarded(from_images))

    def validation(self) -> Iterable:
        """Return the validation batches for all devices. Each iteration is one pass."""
        if self.features:
            return distributed(self.strategy, lambda *shard: self._features(Shard(*shard)))
        if self._one_replica:
            return self.images_of("validation")

        def build(careful: bool, done: int) -> Iterable:
            return distributed(
                self.strategy,
                lambda *shard: self._images(
                    "validation", Shard(*shard), careful, done, self._keeps("validation")
                ),
            )

        return self._guarded(build)

    def images_of(self, split: str) -> Iterable:
        """Return a split's image batches for one device. Each iteration is one pass."""
        if split not in self._passes:
            build = functools.partial(self._images, split, WHOLE)
            keep = self._keeps(split) and self._one_replica
            self._passes[split] = Guarded(self.corrupt, build, keep=keep)
        return self._passes[split]

    def _keeps(self, split: str) -> bool:
        """Return whether a split's batches stay in memory. Every epoch reads validation."""
        return self.config.dataset.cache == "memory" and split == "validation"

    @property
    def _one_replica(self) -> bool:
        return self.strategy.num_replicas_in_sync == 1

    @functools.cached_property
    def _decoded(self) -> tf.data.Dataset | None:
        return self.images("train") if self.images else None

    def _guarded(self, build: Callable[[bool, int], Iterable]) -> Guarded:
        # With several workers, no worker may restart its stream while the others continue.
        together = len(self.strategy.extended.worker_devices) < self.strategy.num_replicas_in_sync
        # The cache of decoded images contains no corrupt image.
        return Guarded(self.corrupt, build, careful=together or self.images is not None)

    def _features(self, shard: Shard) -> tf.data.Dataset:
        return self.features.evaluation_batches("validation", self._batch_size(shard), shard)

    def _images(
        self, split: str, shard: Shard, careful: bool, done: int, cache: bool = False
    ) -> tf.data.Dataset:
        batches = evaluation_batches(
            self.source,
            split,
            self.preprocessing,
            self._batch_size(shard),
            self.corrupt,
            cache,
            shard,
            done * shard.replicas,
            careful,
            self.config.dataset,
        )
        if self.config.debug.mode == "fast_dev_run":
            return batches.take((FAST_BATCHES - done) * shard.replicas)
        return batches

    def _batch_size(self, shard: Shard) -> int:
        """Return one replica's share of `train.eval_batch_size`, rounded up."""
        return -(-self.config.train.eval_batch_size // (shard.count * shard.replicas))


def open_streams(
    config: Config,
    source: Source,
    model: keras.Model,
    length: Length,
    strategy: tf.distribute.Strategy,
    console: Console,
) -> Streams:
    """Open the streams of images, or of features that a frozen backbone computes once.

    With `dataset.check`, the function first decodes images of validation and test.

    Raises:
        UserError: a checked image cannot be decoded, and `dataset.on_corrupt` is ``stop``.
    """
    variant, preprocessing = models.check(config.model), preprocessing_of(config)
    corrupt = CorruptImages(config.dataset.on_corrupt)
    corrupt.include(source.unreadable)
    streams = Streams(source, config, preprocessing, corrupt, strategy)
    if config.dataset.check:
        kept = config.tuning.cache_features or config.dataset.cache != "none"
        trained = length.total_steps * config.train.batch_size
        trained = source.sizes["train"] if kept else trained
        tokens = variant.patches(config.model.image_size)
        check_decoding(
            {split: streams.images_of(split) for split in ("validation", "test")},
            source.sizes,
            trained=trained,
            least_seconds=least_training_seconds(model.count_params(), tokens, trained),
            console=console,
        )
    features = _frozen_features(config, source, preprocessing, model, corrupt, console)
    images = None
    if not features and config.dataset.cache != "none":
        images = ImageCache(source, config.dataset, preprocessing, corrupt, console)
    return dataclasses.replace(streams, features=features, images=images)


def _frozen_features(
    config: Config,
    source: Source,
    preprocessing: Preprocessing,
    model: keras.Model,
    corrupt: CorruptImages,
    console: Console,
) -> FrozenFeatures | None:
    """Return a linear probe's features, computed once. `None`: `tuning.cache_features` is off."""
    if not config.tuning.cache_features:
        return None
    directory = cache_path(config.tuning.cache_dir) if config.tuning.cache_dir else None
    if config.tuning.cache_dir and not directory:
        warn_not_kept()
    return FrozenFeatures(
        source,
        preprocessing,
        model.backbone,
        models.backbone_facts(model, config.model),
        FeatureCache(directory) if directory else None,
        corrupt,
        config.train.eval_batch_size,
        console,
        FAST_BATCHES if config.debug.mode == "fast_dev_run" else None,
    )
