"""Corrupt images are named and counted. The run skips them, or stops."""

from __future__ import annotations

import dataclasses
import itertools
import logging

import numpy as np
import pytest
import tensorflow as tf

from cait_finetune.config import AugmentConfig, DatasetConfig
from cait_finetune.data.corrupt import CorruptImages, Guarded
from cait_finetune.data.decode import decode
from cait_finetune.data.pipeline import evaluation_batches, evaluation_stream, train_batches
from cait_finetune.data.preprocess import Preprocessing
from cait_finetune.errors import UserError
from tests.cait_finetune.stand_ins import encode, examples, picture, source_of, write_set

BAD = {
    2: encode(picture(64, 64), "JPEG")[:200],  # truncated
    5: b"",
    6: b"<html>404</html>",
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    files = examples(9)
    for index, data in BAD.items():
        files[index] = (data, index % 2)
    return source_of(write_set(tmp_path_factory.mktemp("data"), {"train": files}))


def decoded(corrupt, source):
    stand_in = {"id": "", "image": np.zeros((0, 0, 3), np.uint8), "label": np.int32(0)}
    return corrupt.attempt(
        source.examples("train"),
        99,
        lambda example: {**example, "image": decode(example["image"])},
        stand_in,
    )


def ids(source) -> list[str]:
    return [example["id"].decode() for example in source.examples("train").as_numpy_iterator()]


@pytest.mark.slow
def test_skip_yields_all_sound_images_in_order(source, caplog):
    corrupt = CorruptImages("skip")
    every = ids(source)
    with caplog.at_level(logging.WARNING, logger="cait_finetune"):
        got = list(decoded(corrupt, source).as_numpy_iterator())
    bad = [every[index] for index in BAD]
    assert [example["id"].decode() for example in got] == [i for i in every if i not in bad]
    for example in got:
        index = every.index(example["id"].decode())
        np.testing.assert_array_equal(example["image"], picture(16, 16, index))
        assert example["label"] == index % 2
    assert sorted(corrupt.ids) == sorted(bad)
    assert len(corrupt) == 3
    corrupt.check()
    messages = [record.getMessage() for record in caplog.records]
    assert [m for m in messages if "corrupt image" in m] == [
        f"corrupt image {name} ({count} so far)" for count, name in enumerate(corrupt.ids, 1)
    ]


@pytest.mark.slow
def test_stopping_names_the_image(source):
    corrupt = CorruptImages("stop")
    corrupt.check()  # no corrupt image so far
    list(decoded(corrupt, source))
    with pytest.raises(UserError) as caught:
        corrupt.check()
    message = str(caught.value)
    assert message.startswith(f"dataset: got the corrupt image {corrupt.ids[0]}, expected")
    assert "add dataset.on_corrupt=skip" in message


@pytest.mark.slow
def test_an_image_is_counted_once_however_often_it_is_met(source, caplog):
    corrupt = CorruptImages("skip")
    with caplog.at_level(logging.WARNING, logger="cait_finetune"):
        for _ in range(2):
            list(decoded(corrupt, source))
    assert len(corrupt) == 3
    assert sum("corrupt image" in record.getMessage() for record in caplog.records) == 3


@pytest.mark.slow
def test_a_sound_set_has_no_corrupt_images(tmp_path):
    source = source_of(write_set(tmp_path, {"train": examples(4)}))
    corrupt = CorruptImages("stop")
    assert len(list(decoded(corrupt, source))) == 4
    corrupt.check()
    assert len(corrupt) == 0


COUNT, BATCH = 11, 4
PREPROCESSING = Preprocessing(8, 1.0, "bilinear", (0.0,) * 3, (1.0,) * 3)
CROPPED = AugmentConfig(crop_scale=[0.3, 0.9], crop_ratio=[0.75, 1.3333], flip=0.5)
MIXED = dataclasses.replace(CROPPED, mixup=0.8, repeats=2)


def set_with(directory, *bad: int):
    """Return a source of `COUNT` images. The images with numbers in `bad` are truncated."""
    files = examples(COUNT)
    for index in bad:
        files[index] = (files[index][0][:40], index % 2)
    return source_of(write_set(directory, {"train": files}))


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Return a dictionary: the numbers of the corrupt images, and the source with them."""
    kinds = ((), (0,), (3, 4, 9))
    return {bad: set_with(tmp_path_factory.mktemp("data"), *bad) for bad in kinds}


class Training:
    """Build training batches as a run does, and record each build in `built`."""

    def __init__(self, source, on_corrupt="skip", augmentation=CROPPED, stack=1):
        self.corrupt = CorruptImages(on_corrupt)
        self.built = []
        self._source, self._augmentation, self._stack = source, augmentation, stack

    def __call__(self, careful: bool, done: int) -> tf.data.Dataset:
        self.built.append((careful, done))
        return train_batches(
            self._source,
            DatasetConfig(name="stand_in"),
            self._augmentation,
            PREPROCESSING,
            BATCH,
            3,
            self.corrupt,
            start=done * BATCH * self._stack,
            stack=self._stack,
            careful=careful,
        )

    def guarded(self, count: int) -> list:
        return first(Guarded(self.corrupt, self), count)


def first(batches, count: int) -> list[tuple[np.ndarray, ...]]:
    return [tuple(np.array(one) for one in batch) for batch in itertools.islice(batches, count)]


def assert_same(some, others):
    for one, other in zip(some, others, strict=True):
        for left, right in zip(one, other, strict=True):
            np.testing.assert_array_equal(left, right)


@pytest.mark.slow
@pytest.mark.parametrize("augmentation", [CROPPED, MIXED], ids=["cropped", "mixed"])
def test_without_corrupt_images_fast_and_careful_streams_are_equal(sources, augmentation):
    training = Training(sources[()], "stop", augmentation)
    careful = first(training(True, 0), 9)
    training.built.clear()
    assert_same(training.guarded(9), careful)
    assert training.built == [(False, 0)]  # one build, the careless one


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bad", "augmentation", "stack"),
    [((0,), CROPPED, 1), ((3, 4, 9), MIXED, 1), ((3, 4, 9), CROPPED, 2)],
    ids=["one", "mixed", "stacked"],
)
def test_training_switches_to_the_careful_stream_without_a_difference(
    sources, bad, augmentation, stack
):
    careful = first(Training(sources[bad], "skip", augmentation, stack)(True, 0), 6)
    training = Training(sources[bad], "skip", augmentation, stack)
    assert_same(training.guarded(6), careful)
    assert len(training.corrupt) == len(bad)
    (_, (again, done)) = training.built  # careless first, then careful from the failed batch
    assert again
    assert done <= 3


@pytest.mark.slow
def test_training_stops_at_a_corrupt_image_after_sound_batches(sources):
    careful = first(Training(sources[0,])(True, 0), 3)
    training, got = Training(sources[0,], "stop"), []
    with pytest.raises(UserError, match=r"got the corrupt image (.|\n)*dataset\.on_corrupt=skip"):
        got.extend(iter(Guarded(training.corrupt, training)))
    assert len(training.corrupt) == 1
    assert_same(got, careful[: len(got)])
    assert len(got) <= 3


def labels_of(batches) -> list[tuple[bytes, int]]:
    """Return the bytes and the label of each real image."""
    got = []
    for images, labels, real in batches:
        arrays = (np.array(one) for one in (images, labels, real))
        got += [(i.tobytes(), int(label)) for i, label, there in zip(*arrays, strict=True) if there]
    return got


@pytest.fixture(scope="module")
def sound(sources):
    """The bytes and the label of each image of the set without corrupt images."""
    corrupt = CorruptImages("stop")
    return labels_of(evaluation_batches(sources[()], "test", PREPROCESSING, BATCH, corrupt))


@pytest.mark.slow
@pytest.mark.parametrize("bad", [(0,), (3, 4, 9)])
def test_evaluation_counts_every_sound_image_once_each_time(sources, sound, bad):
    wanted = [one for index, one in enumerate(sound) if index not in bad]
    corrupt = CorruptImages("skip")
    stream = evaluation_stream(sources[bad], "test", PREPROCESSING, BATCH, corrupt)
    for _ in range(3):
        assert labels_of(stream) == wanted
    assert len(corrupt) == len(bad)


class Made:
    """Builder of the batches 0 to 4. A careless pass fails at batch `at`, which is corrupt."""

    def __init__(self, corrupt, at, names=("one",)):
        self.corrupt, self.at, self.names, self.asked = corrupt, at, names, []

    def __call__(self, careful: bool, done: int) -> Made:
        self.asked.append((careful, done))
        return Built(self, careful, done)


class Built:
    def __init__(self, made: Made, careful: bool, done: int):
        self.made, self.careful, self.done = made, careful, done

    def __iter__(self):
        for number in range(self.done, 5):
            if number == self.made.at:
                if not self.careful:
                    raise tf.errors.InvalidArgumentError(None, None, "half a file")
                self.made.corrupt.include(self.made.names)
            yield number


@pytest.mark.parametrize("names", [["one"], []])
def test_after_one_error_later_passes_use_the_careful_stream(names):
    corrupt = CorruptImages("skip")
    made = Made(corrupt, 3, names)
    stream = Guarded(corrupt, made)
    assert [list(stream) for _ in range(3)] == [[0, 1, 2, 3, 4]] * 3
    # The stream that starts at batch 0 is built once, because it may keep its batches.
    assert made.asked == [(False, 0), (True, 3), (True, 0)]


def test_kept_batches_are_made_once():
    corrupt = CorruptImages("skip")
    made = Made(corrupt, 3)
    stream = Guarded(corrupt, made, keep=True)
    assert next(iter(stream)) == 0  # an incomplete pass is not kept
    assert [list(stream) for _ in range(3)] == [[0, 1, 2, 3, 4]] * 3
    assert made.asked == [(False, 0), (True, 3)]


def test_a_known_corrupt_image_or_the_option_starts_the_careful_stream():
    known = CorruptImages("skip")
    known.include(["one"])
    for corrupt, careful in ((known, False), (CorruptImages("skip"), True)):
        made = Made(corrupt, at=1)
        assert list(Guarded(corrupt, made, careful)) == [0, 1, 2, 3, 4]
        assert made.asked == [(True, 0)]


def test_an_image_met_in_the_last_batch_stops_too():
    corrupt = CorruptImages("stop")

    def build(careful: bool, done: int):
        yield 0
        corrupt.include(["one"])

    with pytest.raises(UserError, match="got the corrupt image one"):
        list(Guarded(corrupt, build))


@pytest.mark.parametrize("known", [[], ["one"]])
def test_an_error_other_than_a_corrupt_image_keeps_its_message(known):
    """A missing file raises its own error, not a message that all images are corrupt."""
    corrupt = CorruptImages("skip")
    corrupt.include(known)

    def build(careful: bool, done: int):
        yield 0
        raise tf.errors.NotFoundError(None, None, "cat/01.png; No such file or directory")

    with pytest.raises(tf.errors.NotFoundError, match="No such file"):
        list(Guarded(corrupt, build))


@pytest.mark.slow
def test_an_error_reports_that_every_image_is_corrupt(tmp_path):
    corrupt = CorruptImages("skip")
    stream = evaluation_stream(set_with(tmp_path, *range(COUNT)), "test", PREPROCESSING, 4, corrupt)
    with pytest.raises(UserError, match=rf"^dataset: got {COUNT} corrupt images \(.*and no other"):
        list(stream)


@pytest.mark.slow
def test_a_corrupt_image_never_raises_another_operations_error():
    """Before decoding came first, 1 of 100 corrupt images raised CancelledError."""
    bad = next(iter(BAD.values()))
    ignored = tf.data.Dataset.range(3000).interleave(
        lambda _: tf.data.Dataset.from_tensors(bad).map(decode).ignore_errors(),
        cycle_length=8,
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    assert list(ignored) == []
