"""Report images that cannot be decoded, and skip them or stop the run."""

from __future__ import annotations

import dataclasses
import logging
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from cait_finetune.data.bands import count_channels
from cait_finetune.data.decode import FORMATS
from cait_finetune.data.preprocess import Preprocessing
from cait_finetune.data.source import Source
from cait_finetune.errors import UserError, bad_value

logger = logging.getLogger(__name__)

_PARALLEL = 8
# The state of an example: prepared, corrupt, or the number of channels of a refused image.
_GOOD, _CORRUPT = 0, -1
_ALL = "every image is corrupt"


def damaged_records(error: tf.errors.DataLossError) -> UserError:
    """Return the error for a TFRecord file that TensorFlow cannot read to its end."""
    # TensorFlow puts the name of the operation before and behind the reason.
    reason = re.sub(r"^\{\{.*?\}\} |\s*\[Op:.*", "", error.message.splitlines()[0])
    return bad_value(
        "dataset",
        f"a damaged file of records ({reason})",
        "the files of the set as they were prepared",
        "Copy the folder of the set again, or remove it, so that the set is prepared again",
    )


@dataclasses.dataclass(frozen=True)
class Explained:
    """Find the number of channels of an image that was refused.

    Attributes:
        channels: function from an example to its number of channels, () int32. An error: not known.
        expected: the number of channels that an image should have.
    """

    channels: Callable[[dict], tf.Tensor]
    expected: int


def explained(source: Source, preprocessing: Preprocessing) -> Explained | None:
    """Return the explanation of refused images of bands. `None`: RGB images of any channels are read."""
    if not preprocessing.bands:
        return None

    def channels(example: dict) -> tf.Tensor:
        return count_channels(source.read(example)["image"])

    return Explained(channels, preprocessing.channels)


class CorruptImages:
    """The ids of the corrupt images found so far, and the value of `dataset.on_corrupt`."""

    def __init__(self, on_corrupt: str) -> None:
        self.on_corrupt = on_corrupt
        self.ids: list[str] = []
        #: Why an image was refused, by id, and what was expected. Few images have a known reason.
        self.reasons: dict[str, tuple[str, str]] = {}

    def __len__(self) -> int:
        return len(self.ids)

    def include(self, ids: Iterable[str]) -> None:
        """Add corrupt images that another pipeline has found and reported."""
        self.ids += [name for name in ids if name not in self.ids]

    def check(self) -> None:
        """Raise the error for a corrupt image.

        The caller checks between steps, because an exception inside tf.data would lose its message.

        Raises:
            UserError: a corrupt image was found and `on_corrupt` is ``stop``.
        """
        if self.ids and self.on_corrupt == "stop":
            if self.ids[0] in self.reasons:
                got, wanted = self.reasons[self.ids[0]]
                raise bad_value(
                    "dataset",
                    f"the image {self.ids[0]} of {got}",
                    wanted,
                    "Set model.in_channels, remove the image, or add dataset.on_corrupt=skip",
                )
            raise bad_value(
                "dataset",
                f"the corrupt image {self.ids[0]}",
                f"images that can be decoded ({FORMATS})",
                "Repair or remove it, or add dataset.on_corrupt=skip",
            )

    def explain(self, error: tf.errors.OpError) -> None:
        """Raise a UserError that explains an error of `attempt`; return for other errors.

        Raises:
            UserError: every image of a split is corrupt, or a TFRecord file is damaged; or in the
                case of `check`.
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
        explain: Explained | None = None,
    ) -> tf.data.Dataset:
        """Return ``prepare(example)`` of each example; report and skip examples for which it fails.

        tf.data cannot catch the error of one element, but it can ignore the errors of a data set.
        Each example therefore becomes a small data set: the prepared example, with errors ignored,
        then a flagged stand-in. Only the first element of the small data set is used. The small
        data sets take time, so `Guarded` first tries to do without `attempt`.

        Args:
            examples: dictionaries with ``id``.
            size: number of examples. After `size` corrupt examples even an endless stream ends with
                an error.
            prepare: function from an example to an element.
            stand_in: an element with the structure of the elements that `prepare` returns.
            calls: number of examples to prepare in parallel. `None`: ``tf.data.AUTOTUNE``.
            explain: finds the channels of an example that fails. `None`: messages name no channels.
        """

        def tried(example: dict) -> tf.data.Dataset:
            one = tf.data.Dataset.from_tensors(example)
            good = one.map(lambda example: (prepare(example), example["id"], _GOOD))
            bad = one.map(lambda example: (stand_in, example["id"], _CORRUPT))
            if explain:
                found = one.map(
                    lambda example: (stand_in, example["id"], explain.channels(example))
                )
                bad = found.ignore_errors().concatenate(bad)
            return good.ignore_errors().concatenate(bad).take(1)

        prepared = examples.interleave(
            tried,
            cycle_length=_PARALLEL,
            num_parallel_calls=calls or tf.data.AUTOTUNE,
            deterministic=True,
        )
        of_this_split: set[str] = set()

        def report(example_id: bytes, channels: np.int32) -> np.bool_:
            if explain and channels not in (_CORRUPT, explain.expected):
                got, wanted = (_of_channels(int(one)) for one in (channels, explain.expected))
                self.reasons[example_id.decode()] = got, f"images of {wanted}"
            self._report(example_id.decode())
            of_this_split.add(example_id.decode())
            if len(of_this_split) >= size:
                raise ValueError(_ALL)
            return np.bool_(False)

        def keep(_: Any, example_id: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
            return tf.cond(
                tf.equal(state, _GOOD),
                lambda: True,
                lambda: tf.numpy_function(report, [example_id, state], tf.bool),
            )

        return prepared.filter(keep).map(lambda one, *_: one)

    def _report(self, name: str) -> None:
        if name not in self.ids:
            self.ids.append(name)
            why = f" of {self.reasons[name][0]}" if name in self.reasons else ""
            logger.warning("corrupt image %s%s (%d so far)", name, why, len(self.ids))


def _of_channels(count: int) -> str:
    return f"{count} channel{'s' * (count != 1)}"


class Guarded:
    """Batches that leave corrupt images out, or raise a UserError at a corrupt image.

    You can iterate several times. Until an image is known to be corrupt, the batches come from
    ``careful=False``, which is much faster. After an error the iterator continues with
    ``careful=True`` at the batch that failed. Both streams have the same batches before that batch.

    Args:
        corrupt: the corrupt images of the run.
        build: ``build(careful, done)`` returns the batches from number `done` on. Careful batches
            leave corrupt images out. Other batches end with an error at a corrupt image.
        careful: start with careful batches. Needed with several workers: none may restart alone.
        keep: keep the batches of the first complete pass in memory for later passes.
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
        """Yield the batches. Call `CorruptImages.check` before each.

        Raises:
            UserError: an image is corrupt and `on_corrupt` is ``stop``, every image is corrupt, or
                a TFRecord file is damaged.
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
        # Return the same object each time, because it may cache its batches.
        if careful not in self._from_the_start:
            self._from_the_start[careful] = self._build(careful, 0)
        return self._from_the_start[careful]
