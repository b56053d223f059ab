"""The procedural data set: the same at each build, with no image in two splits."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow_datasets as tfds

from cait_finetune.config import DatasetConfig
from cait_finetune.data.load import load_source
from cait_finetune.data.procedural.builder import Procedural

CLASSES, TRAIN, HELD_OUT = 30, 20, 4


def prepared(folder) -> Procedural:
    tfds.disable_progress_bar()
    builder = Procedural(config="small", data_dir=folder)
    builder.download_and_prepare()
    return builder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("procedural")


@pytest.fixture(scope="module")
def builder(folder):
    return prepared(folder)


@pytest.fixture(scope="module")
def splits(builder):
    names = ("train", "validation", "test")
    return {name: tfds.as_numpy(builder.as_dataset(split=name, batch_size=-1)) for name in names}


def test_splits_have_the_documented_sizes_and_equal_class_counts(builder, splits):
    sizes = {name: split.num_examples for name, split in builder.info.splits.items()}
    assert sizes == {
        "train": CLASSES * TRAIN,
        "validation": CLASSES * HELD_OUT,
        "test": CLASSES * HELD_OUT,
    }
    for split in splits.values():
        assert split["image"].shape[1:] == (32, 32, 3)
        assert len(set(np.bincount(split["label"], minlength=CLASSES))) == 1


def test_names_are_the_letters_fractals_and_textures(builder):
    names = builder.info.features["label"].names
    assert names[0] == "latin capital letter a"
    assert names[20:] == [
        *(f"fractal {number}" for number in range(6)),
        *(f"texture {number}" for number in range(4)),
    ]


def test_no_image_is_in_two_splits(splits):
    seen = [{image.tobytes() for image in split["image"]} for split in splits.values()]
    assert sum(map(len, seen)) == len(set.union(*seen))


@pytest.mark.slow
def test_a_second_build_is_identical(splits, tmp_path):
    again = tfds.as_numpy(prepared(tmp_path).as_dataset(split="test", batch_size=-1))
    for key in ("image", "label"):
        np.testing.assert_array_equal(again[key], splits["test"][key])


def test_images_are_not_empty(splits):
    spread = splits["train"]["image"].reshape(CLASSES * TRAIN, -1).std(axis=1)
    assert np.mean(spread < 5) < 0.01


def test_it_opens_by_its_name(builder, folder):
    config = DatasetConfig(name="procedural/small", data_dir=str(folder))
    assert load_source(config).sizes["train"] == CLASSES * TRAIN


def test_the_full_set_is_another_of_thousands(tmp_path):
    full = Procedural(data_dir=tmp_path)
    assert full.info.features["label"].num_classes > 1300
    names = " ".join(full.info.features["label"].names)
    assert "digit" not in names
