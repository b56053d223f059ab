"""Images that cannot be decoded: named, counted, and skipped or stopped at."""

from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from cait_finetune.data.preprocess import decode
from cait_finetune.errors import bad_value

logger = logging.getLogger(__name__)

_PARALLEL = 8


class CorruptImages:
    """The corrupt images met so far, and what to do about them (`dataset.on_corrupt`)."""

    def __init__(self, on_corrupt: str) -> None:
        self.on_corrupt = on_corrupt
        self.ids: list[str] = []

    def __len__(self) -> int:
        return len(self.ids)

    def check(self) -> None:
        """Called between steps, since an exception inside tf.data would lose its words.

        Raises:
            UserError: a corrupt image was met and `on_corrupt` is ``stop``.
        """
        if self.ids and self.on_corrupt == "stop":
            raise bad_value(
                "dataset",
                f"the corrupt image {self.ids[0]}",
                "images that can be decoded (JPEG, PNG, GIF, BMP)",
                "mend or remove it, or add dataset.on_corrupt=skip",
            )

    def decode(self, examples: tf.data.Dataset) -> tf.data.Dataset:
        """Replace each example's ``image`` bytes by ``(h, w, 3)`` uint8, leaving corrupt ones out.

        tf.data has no try and except for one element; a data set of one element has: the decoded
        image, errors ignored, followed by a flagged stand-in, of which the first is taken.
        """

        def attempt(example: dict) -> tf.data.Dataset:
            one = tf.data.Dataset.from_tensors(example)
            good = one.map(_with_image(decode, corrupt=False)).ignore_errors()
            bad = one.map(_with_image(_empty_image, corrupt=True))
            return good.concatenate(bad).take(1)

        decoded = examples.interleave(
            attempt, cycle_length=_PARALLEL, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True
        )
        return decoded.filter(self._keep)

    def _keep(self, example: dict) -> tf.Tensor:
        return tf.cond(
            example["corrupt"],
            lambda: tf.numpy_function(self._report, [example["id"]], tf.bool),
            lambda: True,
        )

    def _report(self, example_id: bytes) -> np.bool_:
        name = example_id.decode()
        if name not in self.ids:
            self.ids.append(name)
            logger.warning("corrupt image %s (%d so far)", name, len(self.ids))
        return np.bool_(False)


def _with_image(decoder: Callable, *, corrupt: bool) -> Callable:
    return lambda example: {**example, "image": decoder(example["image"]), "corrupt": corrupt}


def _empty_image(_: tf.Tensor) -> tf.Tensor:
    return tf.zeros((0, 0, 3), tf.uint8)
