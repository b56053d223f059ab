"""The leaning digits: fixed directions, a missing one where the image has none, the splits of the digits."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow_datasets as tfds

from cait_finetune.config import DatasetConfig
from cait_finetune.config.data import ColumnsConfig
from cait_finetune.data.leaning_digits import LeaningDigits
from cait_finetune.data.load import load_source
from cait_finetune.data.targets import SEVERAL_LABELS
from tests.cait_finetune.data.test_digits import SIZES


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    tfds.disable_progress_bar()
    directory = tmp_path_factory.mktemp("leaning")
    LeaningDigits(data_dir=directory).download_and_prepare()
    return directory


@pytest.mark.slow
def test_the_source_has_two_labels_of_which_one_may_be_missing(directory):
    columns = ColumnsConfig(labels=["digit", "direction"])
    config = DatasetConfig(name="leaning_digits", data_dir=str(directory), columns=columns)
    source = load_source(config, SEVERAL_LABELS)
    assert source.class_names == (
        *(f"digit={digit}" for digit in range(10)), "direction=left", "direction=right",
    )  # fmt: skip
    assert source.sizes == SIZES
    for split in SIZES:
        labels = source.labels(split)
        np.testing.assert_array_equal(labels[:, :10].sum(axis=1), 1)
        assert set(labels[:, 10:].sum(axis=1)) == {0, 1}
        assert labels[:, 10:].sum() / len(labels) == pytest.approx(0.8, abs=0.05)


def test_a_digit_leans_to_the_side_of_its_label(directory):
    """The upper half of an upright 1 turned to the right is right of its lower half."""
    builder = LeaningDigits(data_dir=directory)
    examples = list(tfds.as_numpy(builder.as_dataset(split="train")))
    columns = np.arange(32)

    def centre(rows):
        return (rows.sum(axis=0) * columns).sum() / rows.sum()

    for direction, sign in ((0, -1), (1, 1)):
        ones = [
            one["image"][..., 0].astype(float)
            for one in examples
            if one["digit"] == 1 and one["direction"] == direction
        ]
        leans = [sign * (centre(one[:16]) - centre(one[16:])) for one in ones]
        assert np.mean(leans) > 3
