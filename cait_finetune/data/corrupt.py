"""Images that cannot be decoded: named, counted, and skipped or stopped at."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

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

    def include(self, ids: Iterable[str]) -> None:
        """Count corrupt images that were met, and reported, elsewhere."""
        self.ids += [name for name in ids if name not in self.ids]

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

    def guard(self, batches: tf.data.Dataset) -> Iterator[Any]:
        """The batches one by one, with `check` after each and words for a stream that has none.

        Raises:
            UserError: as `check`; or every image of the split is corrupt.
        """
        iterator = iter(batches)
        while True:
            try:
                batch = next(iterator)
            except StopIteration:
                self.check()
                return
            except tf.errors.OpError as error:
                self.check()
                if not self.ids:
                    raise
                raise bad_value(
                    "dataset",
                    f"{len(self)} corrupt images ({self.ids[0]}, …) and no other in a split",
                    "images that can be decoded (JPEG, PNG, GIF, BMP)",
                ) from error
            self.check()
            yield batch

    def decode(self, examples: tf.data.Dataset, size: int) -> tf.data.Dataset:
        """Replace each example's ``image`` bytes by ``(h, w, 3)`` uint8, leaving corrupt ones out.

        `size` is how many examples there are: an endless stream of corrupt ones must end.

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
        of_this_split: set[str] = set()

        def report(example_id: bytes) -> np.bool_:
            self._report(example_id.decode())
            of_this_split.add(example_id.decode())
            if len(of_this_split) >= size:
                raise ValueError("every image is corrupt")
            return np.bool_(False)

        def keep(example: dict) -> tf.Tensor:
            return tf.cond(
                example["corrupt"],
                lambda: tf.numpy_function(report, [example["id"]], tf.bool),
                lambda: True,
            )

        return decoded.filter(keep)

    def _report(self, name: str) -> None:
        if name not in self.ids:
            self.ids.append(name)
            logger.warning("corrupt image %s (%d so far)", name, len(self.ids))


def _with_image(decoder: Callable, *, corrupt: bool) -> Callable:
    return lambda example: {**example, "image": decoder(example["image"]), "corrupt": corrupt}


def _empty_image(_: tf.Tensor) -> tf.Tensor:
    return tf.zeros((0, 0, 3), tf.uint8)
