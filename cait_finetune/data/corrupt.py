"""Report images that cannot be decoded, and skip them or stop the run."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from cait_finetune.data import bands, decode
from cait_finetune.data.preprocess import Preprocessing
from cait_finetune.data.refusal import refusal
from cait_finetune.data.source import Source
from cait_finetune.errors import UserError, bad_value, reason

logger = logging.getLogger(__name__)

_PARALLEL = 8
_ALL = "every image is corrupt"
_FIRST = "an image is corrupt"
_SKIP = "add dataset.on_corrupt=skip"

#: Function from an example that failed to the reason. It runs outside of TensorFlow's graph.
Why = Callable[[dict], str]


def damaged_records(error: tf.errors.DataLossError) -> UserError:
    """Return the error for a TFRecord file that TensorFlow cannot read to its end."""
    # TensorFlow puts the name of the operation before and behind the reason.
    why = re.sub(r"^\{\{.*?\}\} |\s*\[Op:.*", "", error.message.splitlines()[0])
    return bad_value(
        "dataset",
        f"a damaged file of records ({why})",
        "the files of the set as they were prepared",
        "Copy the folder of the set again, or remove it, so that the set is prepared again",
    )


def explained(source: Source, preprocessing: Preprocessing) -> Why | None:
    """Return the function that finds why an image of bands was refused. `None`: RGB images."""
    if not preprocessing.bands:
        return None

    def why(example: dict) -> str:
        try:
            with tf.device("CPU"):
                preprocessing.decode(source.read(example)["image"])
        except tf.errors.OpError as error:
            return refusal(error)
        except ValueError as error:  # `data.tiff`
            return reason(error)
        return ""

    return why


class CorruptImages:
    """The ids of the corrupt images found so far, and the value of `dataset.on_corrupt`.

    Args:
        on_corrupt: ``skip`` or ``stop``.
        quiet: log no warnings, because a later pass finds the same images.
    """

    def __init__(self, on_corrupt: str, quiet: bool = False) -> None:
        self.on_corrupt = on_corrupt
        self.ids: list[str] = []
        #: Why an image was refused, by id. RGB images have no entry.
        self.reasons: dict[str, str] = {}
        self._quiet = quiet

    def __len__(self) -> int:
        return len(self.ids)

    def include(self, found: Iterable[str] | Mapping[str, str]) -> None:
        """Add corrupt images that another pipeline has found and reported: ids, or reasons by id."""
        self.ids += [name for name in found if name not in self.ids]
        if isinstance(found, Mapping):
            self.reasons |= found

    def check(self) -> None:
        """Raise the error for a corrupt image.

        The caller checks between steps, because an exception inside tf.data would lose its message.

        Raises:
            UserError: a corrupt image was found and `on_corrupt` is ``stop``.
        """
        if self.ids and self.on_corrupt == "stop":
            name = self.ids[0]
            why = self.reasons.get(name, "")
            if channels := bands.refused_channels(why):
                raise bad_value(
                    "dataset",
                    f"the image {name} of {_of_channels(channels[0])}",
                    self._expected(name),
                    f"Set model.in_channels={channels[0]}, remove the image, or {_SKIP}",
                )
            raise bad_value(
                "dataset",
                f"the corrupt image {name}{why and f' ({why})'}",
                self._expected(name),
                f"Repair or remove it, or {_SKIP}",
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
            name = next(iter(self.reasons), self.ids[0])
            why = self.reasons.get(name, "")
            channels = bands.refused_channels(why)
            first = f"{name}: {why}" if why else name
            if channels:
                first = f"{name} has {_of_channels(channels[0])}"
            raise bad_value(
                "dataset",
                f"{len(self)} corrupt images ({first}, …) and no other in a split",
                self._expected(name),
                f"Set model.in_channels={channels[0]}." if channels else "",
            ) from error

    def _expected(self, name: str) -> str:
        channels = bands.refused_channels(self.reasons.get(name, ""))
        if channels:
            return f"images of {_of_channels(channels[1])}"
        formats = bands.FORMATS if name in self.reasons else decode.FORMATS
        return f"images that can be decoded ({formats})"

    def attempt(
        self,
        examples: tf.data.Dataset,
        size: int,
        prepare: Callable[[dict], Any],
        stand_in: Any,
        calls: int | None = None,
        explain: Why | None = None,
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
            explain: finds why an example of bands failed. The first such example ends the data set with
                an error if `on_corrupt` is ``stop``. `None`: messages give no reason.

        Raises:
            tf.errors.OpError: while the data set is read. Call `CorruptImages.explain` with it.
        """

        def reason_of(example: dict) -> tf.Tensor:
            if not explain:
                return tf.constant("")

            def found(*values: tf.Tensor) -> str:
                return explain(tf.nest.pack_sequence_as(example, values))

            return tf.ensure_shape(tf.py_function(found, tf.nest.flatten(example), tf.string), ())

        def tried(example: dict) -> tf.data.Dataset:
            one = tf.data.Dataset.from_tensors(example)
            good = one.map(lambda example: (prepare(example), example["id"], True, ""))
            bad = one.map(lambda example: (stand_in, example["id"], False, reason_of(example)))
            return good.ignore_errors().concatenate(bad).take(1)

        prepared = examples.interleave(
            tried,
            cycle_length=_PARALLEL,
            num_parallel_calls=calls or tf.data.AUTOTUNE,
            deterministic=True,
        )
        of_this_split: set[str] = set()

        ends = explain is not None and self.on_corrupt == "stop"

        def report(example_id: bytes, why: bytes) -> np.bool_:
            name = example_id.decode()
            if not (ends and self.ids):  # a batch draws further examples after an error
                self._report(name, why.decode() if explain else None)
            of_this_split.add(name)
            if ends:
                raise ValueError(_FIRST)
            if len(of_this_split) >= size:
                raise ValueError(_ALL)
            return np.bool_(False)

        def keep(_: Any, example_id: tf.Tensor, good: tf.Tensor, why: tf.Tensor) -> tf.Tensor:
            return tf.cond(
                good, lambda: True, lambda: tf.numpy_function(report, [example_id, why], tf.bool)
            )

        return prepared.filter(keep).map(lambda one, *_: one)

    def _report(self, name: str, why: str | None) -> None:
        if name not in self.ids:
            self.ids.append(name)
            if why is not None:
                self.reasons[name] = why
            if not self._quiet:
                said = f": {why}" if why else ""
                logger.warning("corrupt image %s%s (%d so far)", name, said, len(self.ids))


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
