"""The pairs of digits: the classes of both halves, the splits of the digits."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow_datasets as tfds

from cait_finetune.config import DatasetConfig
from cait_finetune.data.digit_pairs import DigitPairs
from cait_finetune.data.digits import divided_digits
from cait_finetune.data.load import load_source
from cait_finetune.data.targets import ANY_CLASSES
from tests.cait_finetune.data.test_digits import SIZES


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    tfds.disable_progress_bar()
    directory = tmp_path_factory.mktemp("pairs")
    DigitPairs(data_dir=directory).download_and_prepare()
    return directory


@pytest.mark.slow
def test_an_image_has_one_or_two_classes(directory):
    config = DatasetConfig(name="digit_pairs", data_dir=str(directory))
    source = load_source(config, ANY_CLASSES)
    assert source.class_names == tuple(str(digit) for digit in range(10))
    assert source.sizes == SIZES
    for split in SIZES:
        assert set(source.labels(split).sum(axis=1)) == {1, 2}


def test_both_halves_are_digits_of_the_split_with_these_labels(directory):
    images, digits, splits = divided_digits()
    of_split = {images[row].tobytes(): digits[row] for row in splits["test"]}
    for one in tfds.as_numpy(DigitPairs(data_dir=directory).as_dataset(split="test")):
        found = set()
        for half in np.split(one["image"], 2, axis=1):
            windows = (half[top : top + 8] for top in range(9))
            found |= {of_split[key] for window in windows if (key := window.tobytes()) in of_split}
        assert sorted(found) == one["labels"].tolist()
