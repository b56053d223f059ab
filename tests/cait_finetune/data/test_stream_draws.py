"""The augmentation of an example depends only on the seed and its position in the stream."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from cait_finetune.config import DatasetConfig
from cait_finetune.data.corrupt import CorruptImages
from cait_finetune.data.pipeline import train_batches
from cait_finetune.data.preprocess import Preprocessing
from tests.cait_finetune.stand_ins import checked, examples, source_of, write_set

COUNT = 10
PREPROCESSING = Preprocessing(16, 1.0, "bicubic", (0.5,) * 3, (0.5,) * 3)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return source_of(write_set(tmp_path_factory.mktemp("data"), {"train": examples(COUNT)}))


def images(source, preset: str, start: int, batches: int) -> np.ndarray:
    stream = train_batches(
        source,
        DatasetConfig(name="stand_in"),
        checked(f"augment={preset}").augment,
        PREPROCESSING,
        batch_size=4,
        seed=3,
        corrupt=CorruptImages("stop"),
        start=start,
    ).as_numpy_iterator()
    return np.concatenate([batch[0] for batch in itertools.islice(stream, batches)])


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["deit", "three"])
def test_a_resumed_stream_shows_the_pictures_that_would_have_come(source, preset):
    whole = images(source, preset, 0, 6)
    np.testing.assert_array_equal(images(source, preset, 12, 3), whole[12:])
    assert len({image.tobytes() for image in whole}) == len(whole)  # no two are equal
