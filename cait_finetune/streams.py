"""The batches of a run, divided among the devices of its strategy."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import tensorflow as tf

from cait_finetune.config import Config
from cait_finetune.data.corrupt import CorruptImages
from cait_finetune.data.features import FrozenFeatures
from cait_finetune.data.mixing import mixes
from cait_finetune.data.pipeline import evaluation_batches, train_batches
from cait_finetune.data.preprocess import Preprocessing
from cait_finetune.data.sequence import WHOLE, Share
from cait_finetune.data.source import Source
from cait_finetune.errors import bad_value
from cait_finetune.train.distribution import distributed

#: Of each split under ``debug=fast_dev_run``.
FAST_BATCHES = 2


def check_pairs(config: Config, strategy: tf.distribute.Strategy) -> None:
    """Whether every pipeline's slice of the batch holds whole pairs, where images are mixed in pairs.

    Raises:
        UserError: it does not.
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
    """Makes the streams that training and evaluation iterate over.

    With `features` training and validation get these instead of images.
    """

    source: Source
    config: Config
    preprocessing: Preprocessing
    corrupt: CorruptImages
    strategy: tf.distribute.Strategy
    features: FrozenFeatures | None = None

    def training(self, position: int) -> Iterator:
        """The endless training stream from a position on."""
        train = self.config.train
        overfit = self.config.debug.mode == "overfit_batch"

        def build(index: int, count: int, replicas: int) -> tf.data.Dataset:
            if self.features:
                return self.features.train_batches(
                    train.batch_size,
                    self.config.seed,
                    position,
                    Share(index, count, replicas),
                    train.steps_per_execution,
                    overfit,
                )
            return train_batches(
                self.source,
                self.config.dataset,
                self.config.augment,
                self.preprocessing,
                train.batch_size,
                self.config.seed,
                self.corrupt,
                start=position,
                share=Share(index, count, replicas),
                overfit=overfit,
                stack=train.steps_per_execution,
            )

        return self.corrupt.guard(distributed(self.strategy, build))

    def validation(self) -> Iterable:
        """One pass over the validation split, on all devices, each time it is iterated over."""
        return distributed(self.strategy, lambda *share: self._validation(Share(*share)))

    def test(self) -> Iterable:
        """One pass over the test split's images, on one device."""
        return self._images("test", WHOLE)

    def _validation(self, share: Share) -> tf.data.Dataset:
        if self.features:
            return self.features.evaluation_batches("validation", self._batch_size(share), share)
        return self._images("validation", share)

    def _images(self, role: str, share: Share) -> tf.data.Dataset:
        batches = evaluation_batches(
            self.source,
            role,
            self.preprocessing,
            self._batch_size(share),
            self.corrupt,
            self.config.dataset.cache == "memory" and role == "validation",
            share,
        )
        if self.config.debug.mode == "fast_dev_run":
            return batches.take(FAST_BATCHES * share.replicas)
        return batches

    def _batch_size(self, share: Share) -> int:
        """Of one replica; `train.eval_batch_size` is all replicas'."""
        return -(-self.config.train.eval_batch_size // (share.count * share.replicas))
