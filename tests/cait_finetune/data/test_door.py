"""The checks of every data set, from TFDS or from files."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow_datasets as tfds

from cait_finetune.config import DatasetConfig, SplitsConfig
from cait_finetune.data.load import load_source
from cait_finetune.data.source import SPLITS
from cait_finetune.data.targets import ANY_CLASSES, ONE_CLASS
from cait_finetune.errors import UserError
from tests.cait_finetune.data.made_images import folders, from_folder, from_table, image, table
from tests.cait_finetune.stand_ins import encode, picture, write_set

PIXELS = encode(picture(4, 4))
NAMES = ("ant", "bee", "cow")
LABEL = tfds.features.ClassLabel(names=list(NAMES))
LABELS = tfds.features.Sequence(LABEL)


def opened(directory, label=LABEL, splits=SPLITS, shards=None, specs=(), **labels):
    """Write and open a data set. `labels` has the labels of each split, in order."""
    examples = {split: [(PIXELS, one) for one in of_split] for split, of_split in labels.items()}
    write_set(directory, examples, "creatures", label, shards)
    return again(directory, label, splits, specs)


def again(directory, label=LABEL, splits=SPLITS, specs=(), **options):
    target = ANY_CLASSES if isinstance(label, tfds.features.Sequence) else ONE_CLASS
    config = DatasetConfig(
        name="creatures", data_dir=str(directory), splits=SplitsConfig(**dict(specs)), **options
    )
    return load_source(config, target, splits)


def in_turn(count):
    return [number % 3 for number in range(count)]


def in_order(of_each):
    return np.repeat(np.arange(3), of_each).tolist()


def message(*args, **options) -> str:
    with pytest.raises(UserError) as error:
        opened(*args, **options)
    return str(error.value)


@pytest.mark.slow
def test_an_unlabelled_test_split_is_refused_with_another_division(tmp_path):
    said = message(tmp_path / "a", train=in_turn(20), validation=in_turn(6), test=[-1] * 7)
    assert said == (
        "dataset.splits.test: got 'test', whose 7 images have no label (-1), expected a split with "
        "labels\n  Set 'dataset.splits.train=\"train[:90%]\"' "
        "'dataset.splits.validation=\"train[90%:]\"' 'dataset.splits.test=\"validation\"'"
    )
    said = message(tmp_path / "b", train=in_turn(20), test=[-1] * 7)
    assert said.endswith(
        "Set 'dataset.splits.train=\"train[:80%]\"' "
        "'dataset.splits.validation=\"train[80%:90%]\"' 'dataset.splits.test=\"train[90%:]\"'"
    )
    other = {"train": "train[:80%]", "validation": "train[80%:90%]", "test": "train[90%:]"}
    assert sum(again(tmp_path / "b", specs=other).sizes.values()) == 20


def test_an_unlabelled_training_split_is_refused(tmp_path):
    said = message(tmp_path, train=[-1] * 20, test=in_turn(7))
    assert said.startswith(
        "dataset.splits.train: got 'train[:90%]', whose 18 images have no label (-1), expected"
    )


def test_single_labels_outside_the_class_list(tmp_path):
    plain = tfds.features.Scalar(np.int64)
    labels = [*in_turn(9), -1, 7, 7, 2**32]
    examples = {"train": [(PIXELS, one) for one in labels], "test": [(PIXELS, 0)] * 3}
    write_set(tmp_path, examples, "creatures", plain)
    splits = {"train": "train", "validation": "test", "test": "test"}
    with pytest.raises(UserError) as error:
        again(tmp_path, plain, specs=splits, num_classes=3)
    said = str(error.value)
    first = "creatures-train.tfrecord-00000-of-00001__9"
    assert said.startswith(
        "dataset.splits.train: got 4 images with labels outside the class list: -1, 7, 4294967296 "
        f"({first}, "
    )
    assert "expected labels 0 to 2, the 3 classes class_0, class_1, class_2\n" in said
    # The labels of an unused split are not checked.
    assert again(tmp_path, plain, ["test"], splits, num_classes=3).sizes["test"] == 3


@pytest.mark.slow
def test_one_of_several_labels_outside_the_class_list(tmp_path):
    lists = [[0], [1, 2], [], [0, 1]] * 4
    said = message(tmp_path / "a", LABELS, train=[*lists, [1, -1]], validation=lists, test=lists)
    assert said.startswith(
        "dataset.splits.train: got 1 image with labels outside the class list: -1 ("
    )
    said = message(tmp_path / "b", LABELS, train=lists, validation=lists, test=[[-1]] * 5)
    assert said.startswith("dataset.splits.test: got 'test', whose 5 images have no label (-1)")
    assert (
        opened(tmp_path / "c", LABELS, train=lists, validation=lists, test=lists).target
        is ANY_CLASSES
    )


@pytest.mark.slow
def test_classes_that_splits_lack(tmp_path, warnings_shown):
    no_cow = [0, 1] * 5
    said = message(tmp_path / "a", train=no_cow, validation=in_turn(6), test=no_cow)
    assert said == (
        "dataset.splits.train: got class 'cow' in validation but not in train, expected images of "
        "each class to train on\n  Set other dataset.splits"
    )
    warnings_shown()
    opened(tmp_path / "b", train=in_turn(12), validation=no_cow, test=in_turn(6))
    assert warnings_shown() == ["validation has no image of cow"]
    opened(tmp_path / "c", train=no_cow, validation=no_cow, test=no_cow)
    assert warnings_shown() == ["no image of cow"]
    again(tmp_path / "b", evaluation_only=True)
    assert warnings_shown() == []


def test_a_class_that_only_a_fold_has_is_found_after_the_division(tmp_path):
    labels = [0, 1] * 8
    opened(tmp_path, train=[*labels, 2], validation=labels, test=in_turn(6))
    refused = []
    for fold in range(2):
        try:
            again(tmp_path, folds=2, fold=fold)
        except UserError as error:
            refused.append(str(error))
    (said,) = refused
    assert said.startswith("dataset.splits.train: got class 'cow' in validation and test but not")


@pytest.mark.slow
def test_images_in_two_splits(tmp_path, warnings_shown):
    train = np.random.default_rng(0).permutation(in_turn(60)).tolist()
    splits = {"train": "train", "validation": "train[:10%]", "test": "test"}
    opened(tmp_path, train=train, test=in_turn(12), specs=splits)
    name = "creatures-train.tfrecord-00000-of-00001__"
    assert warnings_shown() == [
        f"images in two splits: 6 in train and validation ({name}0, {name}1, {name}2, …); the "
        "validation accuracy will be too high"
    ]
    splits = {"train": "train[:50%]", "validation": "test", "test": "train[49%:51%]+test"}
    again(tmp_path, specs=splits)
    (said,) = warnings_shown()
    assert said.startswith(
        f"images in two splits: 1 in train and test ({name}29), 12 in validation"
    )
    assert said.endswith("; the test accuracy will be too high")
    again(tmp_path, specs=dict.fromkeys(SPLITS, "test"), evaluation_only=True)
    assert warnings_shown() == []


def test_one_image_of_two_classes(tmp_path, warnings_shown):
    for name in "abcdefgh":
        image(tmp_path / f"{name}.png")
    rows = [f"{name}.png,{split},cat" for name, split in zip("acdf", "ttvs", strict=True)]
    rows += [f"{name}.png,{split},dog" for name, split in zip("begh", "ttvs", strict=True)]
    rows = [row.replace(",t,", ",train,").replace(",v,", ",val,") for row in rows]
    rows = [row.replace(",s,", ",test,") for row in rows]
    header = "path,split,label"
    whole = table(tmp_path / "whole.csv", [*rows, "a.png,train,cat"], header)
    assert from_table(whole).sizes["train"] == 5  # one image counts twice
    assert not any("different" in one for one in warnings_shown())
    with pytest.raises(UserError, match=r"two labels of an image: a\.png is cat \(row 2\), dog"):
        from_table(table(tmp_path / "two.csv", [*rows, "a.png,train,dog"], header), check=False)


@pytest.mark.slow
def test_an_image_that_a_tfds_split_has_twice(tmp_path, warnings_shown):
    opened(tmp_path, train=in_turn(30), validation=in_turn(9), test=in_turn(9))
    assert warnings_shown() == []
    again(tmp_path, specs={"train": "train[:50%]+train[:50%]"})
    assert "15 images are in train several times" in warnings_shown()


@pytest.mark.slow
def test_names_that_hardly_differ(tmp_path, warnings_shown):
    from_folder(folders(tmp_path / "a", {"Cat": 9, "cat": 9, "dog": 9}))
    (said,) = warnings_shown()
    assert "'Cat' and 'cat'; give them one name" in said
    label = tfds.features.ClassLabel(names=["sea lion", "sea_lion", "seal"])
    opened(tmp_path / "b", label, train=in_turn(9), validation=in_turn(9), test=in_turn(9))
    (said,) = warnings_shown()
    assert "'sea lion' and 'sea_lion'; give them one name" in said
    label = tfds.features.ClassLabel(names=["A", "a", "b"])  # classes of letters
    opened(tmp_path / "c", label, train=in_turn(9), validation=in_turn(9), test=in_turn(9))
    assert warnings_shown() == []


@pytest.mark.slow
@pytest.mark.parametrize("shards", [1, 3])
def test_a_default_slice_of_a_sorted_set_is_divided_class_by_class(
    shards, tmp_path, warnings_shown
):
    source = opened(tmp_path, shards=shards, train=in_order([30, 20, 10]))
    assert source.sizes == {"train": 48, "validation": 6, "test": 6}
    counts = [source.class_counts(split).tolist() for split in SPLITS]
    assert counts == [[24, 16, 8], [3, 2, 1], [3, 2, 1]]
    assert source.notes == (
        "split  the set is sorted by class, so train and validation and test are divided class by "
        "class",
    )
    assert warnings_shown() == []
    ids = np.concatenate([source.ids(split) for split in SPLITS])
    assert len(set(ids)) == 60
    for split in SPLITS:
        found = list(source.examples(split).as_numpy_iterator())
        assert [one["label"] for one in found] == source.labels(split).tolist()
        assert [one["id"].decode() for one in found] == source.ids(split).tolist()
    # The number of files read in parallel does not change the splits.
    other = again(tmp_path, parallel_files=1)
    assert [set(other.ids(split)) for split in SPLITS] == [
        set(source.ids(split)) for split in SPLITS
    ]
    other = again(tmp_path, specs={"seed": 1})
    assert set(other.ids("test")) != set(source.ids("test"))


def test_a_seed_of_splits_that_are_not_drawn_is_named(tmp_path):
    note = "split  dataset.splits.seed has no effect: the set is not sorted, so its slices are not drawn"
    opened(tmp_path, train=in_turn(60))
    assert note in again(tmp_path, specs={"seed": 1}).notes
    assert note not in again(tmp_path).notes


def test_a_sorted_set_with_a_test_split_keeps_it(tmp_path):
    source = opened(tmp_path, train=in_order([30, 20, 10]), test=in_order([4, 4, 4]))
    assert source.class_counts("validation").tolist() == [3, 2, 1]
    assert source.labels("test").tolist() == in_order([4, 4, 4])
    # A test of the test split alone does not read train.
    only = again(tmp_path, splits=["test"])
    assert only.splits == source.splits
    assert only.selection is None


def test_an_unsorted_set_keeps_the_images_of_its_slices(tmp_path, warnings_shown):
    source = opened(tmp_path, train=np.random.default_rng(0).permutation(in_turn(60)).tolist())
    assert source.selection is None
    numbers = [[int(one.rpartition("__")[2]) for one in source.ids(split)] for split in SPLITS]
    assert numbers == [list(range(48)), list(range(48, 54)), list(range(54, 60))]
    assert warnings_shown() == []


def test_several_labels_sorted_by_one_of_them_are_divided_by_chance(tmp_path):
    lists = [[label, 2] if number % 5 else [] for label in (0, 1) for number in range(60)]
    source = opened(tmp_path, LABELS, train=lists)
    assert source.sizes == {"train": 96, "validation": 12, "test": 12}
    assert all((source.class_counts(split) > 0).all() for split in SPLITS)
    assert source.notes[0].endswith("are divided by chance")


SLICES = {"train": "train[:80%]", "validation": "train[80%:90%]", "test": "train[90%:]"}


def test_typed_slices_of_a_sorted_set_are_warned_about(tmp_path, warnings_shown):
    opened(tmp_path, train=in_order([20, 20, 20]))
    warnings_shown()
    source = again(tmp_path, specs=SLICES, num_classes=3)
    assert source.labels("test").tolist() == [2] * 6
    said = warnings_shown()
    assert said[-1] == (
        "train is sorted by class, and a slice of it has only some of the classes: train "
        "train[:80%] has 3 of 3, validation train[80%:90%] has 1 of 3, test train[90%:] has 1 of 3; "
        "set dataset.splits.{train,validation,test}=null to divide it class by class"
    )
    assert said[:-1] == ["validation has no image of ant, bee", "test has no image of ant, bee"]
    again(tmp_path, specs=SLICES, evaluation_only=True)
    assert warnings_shown() == []


def test_a_shuffle_buffer_smaller_than_the_runs_of_a_class(tmp_path, warnings_shown):
    source = opened(tmp_path, train=in_order([40, 40, 40]), validation=in_turn(9), test=in_turn(9))
    assert warnings_shown() == []  # the default buffer holds all 120 images
    again(tmp_path, shuffle_buffer=32)
    assert warnings_shown() == [
        "train is sorted by class, and dataset.shuffle_buffer=32 mixes few of its classes at a time; "
        "set dataset.shuffle_buffer=120, which holds all of train in memory"
    ]
    again(tmp_path, shuffle_buffer=120)
    assert warnings_shown() == []
    assert source.sizes["train"] == 120
