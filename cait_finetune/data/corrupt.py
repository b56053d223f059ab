"""Images that cannot be decoded: named, counted, and skipped or stopped at."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from cait_finetune.data.decode import FORMATS
from cait_finetune.errors import UserError, bad_value

logger = logging.getLogger(__name__)

_PARALLEL = 8
_ALL = "every image is corrupt"


def damaged_records(error: tf.errors.DataLossError) -> UserError:
    """What to say of a TFRecord file that TensorFlow cannot read to its end."""
    reason = error.message.splitlines()[0]
    return bad_value(
        "dataset",
        f"a damaged file of records ({reason})",
        "the files of the set as they were prepared",
        "Copy the folder of the set again, or remove it, so that the set is prepared again",
    )


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
                f"images that can be decoded ({FORMATS})",
                "mend or remove it, or add dataset.on_corrupt=skip",
            )

    def explain(self, error: tf.errors.OpError) -> None:
        """Raise what an error of `attempt` means, if it is one.

        Raises:
            UserError: every image of a split is corrupt, or a file of records is damaged.
        """
        self.check()
        if isinstance(error, tf.errors.DataLossError):
            raise damaged_records(error) from error
        if _ALL in str(error):
            raise bad_value(
                "dataset",
                f"{len(self)} corrupt images ({self.ids[0]}, …) and no other in a split",
                f"images that can be decoded ({FORMATS})",
            ) from error

    def attempt(
        self,
        examples: tf.data.Dataset,
        size: int,
        prepare: Callable[[dict], Any],
        stand_in: Any,
        calls: int | None = None,
    ) -> tf.data.Dataset:
        """``prepare(example)`` of each example for which it does not fail; the others are reported.

        tf.data has no try and except for one element; a data set of one element has: the prepared
        example, errors ignored, followed by a flagged stand-in, of which the first is taken. That
        takes a fifth of the time that an image takes, so it is only done where one is corrupt.

        Args:
            size: how many examples there are: an endless stream of corrupt ones must end.
            stand_in: an element of the same structure as what `prepare` returns.
            calls: how many examples are prepared at a time; None is as TensorFlow thinks best.
        """

        def tried(example: dict) -> tf.data.Dataset:
            one = tf.data.Dataset.from_tensors(example)
            good = one.map(lambda example: (prepare(example), example["id"], False))
            bad = one.map(lambda example: (stand_in, example["id"], True))
            return good.ignore_errors().concatenate(bad).take(1)

        prepared = examples.interleave(
            tried,
            cycle_length=_PARALLEL,
            num_parallel_calls=calls or tf.data.AUTOTUNE,
            deterministic=True,
        )
        of_this_split: set[str] = set()

        def report(example_id: bytes) -> np.bool_:
            self._report(example_id.decode())
            of_this_split.add(example_id.decode())
            if len(of_this_split) >= size:
                raise ValueError(_ALL)
            return np.bool_(False)

        def keep(_: Any, example_id: tf.Tensor, corrupt: tf.Tensor) -> tf.Tensor:
            return tf.cond(
                corrupt, lambda: tf.numpy_function(report, [example_id], tf.bool), lambda: True
            )

        return prepared.filter(keep).map(lambda one, *_: one)

    def _report(self, name: str) -> None:
        if name not in self.ids:
            self.ids.append(name)
            logger.warning("corrupt image %s (%d so far)", name, len(self.ids))


class Guarded:
    """Batches, in which corrupt images are left out or end the stream in words.

    ``build(careful, done)`` makes the batches from number `done` on. It is first asked for those that
    end with an error at a corrupt image, which is much the faster, and after one for those that are
    careful. Batches that a careless stream gave are the same in both.

    Can be iterated over again and again.

    Args:
        careful: from the start, as where all workers must do the same.
        keep: keep the batches of the first whole pass for those that follow.
    """

    def __init__(
        self,
        corrupt: CorruptImages,
        build: Callable[[bool, int], Iterable[Any]],
        careful: bool = False,
        keep: bool = False,
    ) -> None:
        self._corrupt = corrupt
        self._build = build
        self._careful = careful
        self._from_the_start: dict[bool, Iterable[Any]] = {}
        self._keep = keep
        self._kept: list[Any] | None = None

    def __iter__(self) -> Iterator[Any]:
        """The batches one by one, with `CorruptImages.check` after each.

        Raises:
            UserError: a corrupt image, if the run stops at one; or every image is corrupt.
        """
        if self._kept is not None:
            yield from self._kept
            return
        corrupt, done = self._corrupt, 0
        passed: list[Any] = []
        careful = self._careful or bool(corrupt.ids)
        iterator = iter(self._batches(careful, 0))
        while True:
            try:
                batch = next(iterator)
            except StopIteration:
                corrupt.check()
                self._kept = passed if self._keep else None
                return
            except tf.errors.OpError as error:
                corrupt.check()
                if not careful:
                    careful, self._careful = True, True
                    iterator = iter(self._batches(True, done))
                    continue
                corrupt.explain(error)
                raise
            corrupt.check()
            done += 1
            if self._keep:
                passed.append(batch)
            yield batch

    def _batches(self, careful: bool, done: int) -> Iterable[Any]:
        if done:
            return self._build(careful, done)
        # The same object each time: it may keep what it made.
        if careful not in self._from_the_start:
            self._from_the_start[careful] = self._build(careful, 0)
        return self._from_the_start[careful]
