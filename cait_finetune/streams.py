"""The batches of a run, divided among the devices of its strategy."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

import tensorflow as tf

from cait_finetune.config import Config
from cait_finetune.data.corrupt import CorruptImages
from cait_finetune.data.mixing import mixes
from cait_finetune.data.pipeline import Share, evaluation_batches, train_batches
from cait_finetune.data.preprocess import Preprocessing
from cait_finetune.data.source import Source
from cait_finetune.errors import bad_value
from cait_finetune.train.distribution import distributed

_FAST_BATCHES = 2  # of debug=fast_dev_run


@dataclasses.dataclass(frozen=True)
class Streams:
    """Makes the streams that training and evaluation iterate over."""

    source: Source
    config: Config
    preprocessing: Preprocessing
    corrupt: CorruptImages
    strategy: tf.distribute.Strategy

    def training(self, position: int) -> Iterator:
        """The endless training stream from a position on.

        Raises:
            UserError: slices of the batch that would tear a mixed pair apart.
        """
        train = self.config.train

        def build(index: int, count: int, replicas: int) -> tf.data.Dataset:
            if mixes(self.config.augment) and train.batch_size // count % 2:
                raise bad_value(
                    "train.batch_size",
                    train.batch_size,
                    f"a multiple of {2 * count}, as images are mixed in pairs",
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
                overfit=self.config.debug.mode == "overfit_batch",
                stack=train.steps_per_execution,
            )

        return self.corrupt.guard(distributed(self.strategy, build))

    def evaluation(self, role: str) -> Iterable:
        """One pass over a split, on all devices, each time it is iterated over."""
        return distributed(self.strategy, lambda *share: self._pass(role, Share(*share)))

    def evaluation_alone(self, role: str) -> Iterable:
        """The same on one device."""
        return self._pass(role, Share())

    def _pass(self, role: str, share: Share) -> tf.data.Dataset:
        replicas = share.count * share.replicas
        batches = evaluation_batches(
            self.source,
            role,
            self.preprocessing,
            -(-self.config.train.eval_batch_size // replicas),
            self.corrupt,
            self.config.dataset.cache and role == "validation",
            share,
        )
        if self.config.debug.mode == "fast_dev_run":
            return batches.take(_FAST_BATCHES * share.replicas)
        return batches
