"""Corrupt images are named and counted, and skipped or stopped at."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from cait_finetune.data.corrupt import CorruptImages
from cait_finetune.data.decode import decode
from cait_finetune.errors import UserError
from tests.cait_finetune.stand_ins import encode, examples, picture, source_of, write_set

BAD = {
    2: encode(picture(64, 64), "JPEG")[:200],  # ends too early
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


def test_skipping_goes_on_with_all_others_in_order(source, caplog):
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


def test_stopping_names_the_image(source):
    corrupt = CorruptImages("stop")
    corrupt.check()  # nothing met yet
    list(decoded(corrupt, source))
    with pytest.raises(UserError) as caught:
        corrupt.check()
    message = str(caught.value)
    assert message.startswith(f"dataset: got the corrupt image {corrupt.ids[0]}, expected")
    assert "add dataset.on_corrupt=skip" in message


def test_an_image_is_counted_once_however_often_it_is_met(source, caplog):
    corrupt = CorruptImages("skip")
    with caplog.at_level(logging.WARNING, logger="cait_finetune"):
        for _ in range(2):
            list(decoded(corrupt, source))
    assert len(corrupt) == 3
    assert sum("corrupt image" in record.getMessage() for record in caplog.records) == 3


def test_a_sound_set_has_none(tmp_path):
    source = source_of(write_set(tmp_path, {"train": examples(4)}))
    corrupt = CorruptImages("stop")
    assert len(list(decoded(corrupt, source))) == 4
    corrupt.check()
    assert len(corrupt) == 0
