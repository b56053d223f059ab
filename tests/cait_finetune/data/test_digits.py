"""The digits data set: real images with fixed splits."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow_datasets as tfds
from sklearn.datasets import load_digits

from cait_finetune.data.digits import Digits

SIZES = {"train": 1257, "validation": 180, "test": 360}


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    tfds.disable_progress_bar()
    builder = Digits(data_dir=tmp_path_factory.mktemp("digits"))
    builder.download_and_prepare()
    return builder


@pytest.fixture(scope="module")
def splits(builder):
    """Return the images and labels of each split."""
    return {name: tfds.as_numpy(builder.as_dataset(split=name, batch_size=-1)) for name in SIZES}


def test_splits_have_the_documented_sizes(builder, splits):
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == SIZES
    assert {name: len(split["label"]) for name, split in splits.items()} == SIZES


def test_images_are_8_by_8_grey_levels_from_0_to_255(splits):
    for split in splits.values():
        assert split["image"].shape[1:] == (8, 8, 1)
        assert split["image"].dtype == np.uint8
        assert split["image"].max() == 255
        assert split["image"].min() == 0


def test_together_the_splits_are_the_digits(splits):
    """The splits are disjoint and complete: they hold each image and its label once."""
    images, labels = load_digits(return_X_y=True)
    wanted = sorted((tuple(image), label) for image, label in zip(images, labels, strict=True))
    got = sorted(
        (tuple(np.round(image.reshape(-1) / 255 * 16)), label)
        for split in splits.values()
        for image, label in zip(split["image"], split["label"], strict=True)
    )
    assert got == wanted


def test_splits_are_stratified_by_class(splits):
    total = sum(np.bincount(split["label"], minlength=10) for split in splits.values())
    for name, split in splits.items():
        share = SIZES[name] / sum(SIZES.values())
        assert np.abs(np.bincount(split["label"], minlength=10) - total * share).max() < 1.5


def test_a_build_in_another_folder_is_identical(splits, tmp_path):
    again = Digits(data_dir=tmp_path)
    again.download_and_prepare()
    for name, split in splits.items():
        other = tfds.as_numpy(again.as_dataset(split=name, batch_size=-1))
        np.testing.assert_array_equal(split["image"], other["image"])
        np.testing.assert_array_equal(split["label"], other["label"])
