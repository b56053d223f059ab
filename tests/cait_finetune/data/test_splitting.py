"""Splits by shares, folds and few-shot are disjoint, complete, even and fixed by the seed."""

from __future__ import annotations

import numpy as np
import pytest

from cait_finetune.config import DatasetConfig
from cait_finetune.data.image_files.files import Files, FileSource
from cait_finetune.data.load import load_source
from cait_finetune.data.source import SPLITS
from cait_finetune.data.splitting import (
    divided,
    few_of_each_class,
    folded,
    share_of_each_class,
)
from cait_finetune.data.targets import ANY_CLASSES, ONE_CLASS, SEVERAL_LABELS
from cait_finetune.errors import UserError
from tests.cait_finetune.stand_ins import prepare

SHARES = [0.8, 0.1, 0.1]


def counts(labels, parts):
    table = np.zeros((labels.max() + 1, 3), int)
    np.add.at(table, (labels, parts), 1)
    return table


@pytest.mark.parametrize("shares", [SHARES, [0.6, 0.2, 0.2], [0.34, 0.33, 0.33]])
@pytest.mark.parametrize(
    "of_each", [[40, 7, 10], [3] * 30, [5] * 8, [1, 2, 100], [2, 2], [1] * 9 + [9]]
)
def test_each_class_has_its_shares(shares, of_each):
    labels = np.repeat(np.arange(len(of_each)), of_each)
    table = counts(labels, divided(labels, shares, 0))
    exact = np.array(of_each)[:, None] * shares
    assert table.sum(axis=1).tolist() == of_each
    assert (table[:, 0] >= 1).all()
    assert (table.sum(axis=0) >= 1).all()
    enough = np.array(of_each) > 2
    assert (np.abs(table - exact)[enough] < 2).all()
    assert np.array_equal(divided(labels, shares, 0), divided(labels, shares, 0))


def test_many_small_classes_together_have_the_shares():
    labels = np.repeat(np.arange(100), 4)
    assert np.bincount(divided(labels, SHARES, 0)).tolist() == [320, 40, 40]


def test_another_seed_divides_otherwise():
    labels = np.repeat(np.arange(3), 20)
    assert not np.array_equal(divided(labels, SHARES, 0), divided(labels, SHARES, 1))


def test_two_shares_divide_every_class():
    labels = np.repeat(np.arange(3), 10)
    assert np.bincount(divided(labels, [0.9, 0.1], 0)).tolist() == [27, 3]


@pytest.mark.parametrize("labels", [[0, 1], [0, 0], [0, 1, 2, 3]])
def test_too_few_to_divide(labels):
    with pytest.raises(ValueError, match="fewer images"):
        divided(np.array(labels), SHARES, 0)


def test_assigned_images_keep_their_split_and_new_images_balance_shares():
    labels = np.repeat([0, 1], 20)
    known = np.full(40, -1)
    known[:5], known[20:22] = 2, 1
    parts = divided(labels, SHARES, 0, known)
    assert (parts[known >= 0] == known[known >= 0]).all()
    assert counts(labels, parts).tolist() == [[13, 2, 5], [16, 2, 2]]
    assert (known[5:20] == -1).all()


def file_source(of_each=(12, 9, 6), target=ONE_CLASS):
    """Return a source with `of_each` images per class in every split. Its files do not exist."""
    files = {}
    for split in SPLITS:
        labels = np.repeat(np.arange(len(of_each)), of_each).astype(np.int32)
        names = np.array([f"{split}/{number}" for number in range(len(labels))], object)
        if target is ANY_CLASSES:
            labels = np.eye(len(of_each), dtype=np.float32)[labels]
        files[split] = Files(names, names, labels)
    return FileSource(
        class_names=("a", "b", "c"),
        sizes={split: len(one) for split, one in files.items()},
        target=target,
        files=files,
    )


def tfds_source(directory):
    name = prepare(directory, SIZES={"train": 36, "validation": 12, "test": 9})
    return load_source(DatasetConfig(name=name, data_dir=str(directory)))


def names(source, split):
    return [one["id"].decode() for one in source.records(split).as_numpy_iterator()]


@pytest.fixture(params=["files", "tfds"])
def source(request, tmp_path):
    return file_source() if request.param == "files" else tfds_source(tmp_path)


@pytest.mark.slow
def test_folds_are_disjoint_complete_and_even(source):
    whole = sorted(names(source, "train") + names(source, "validation"))
    share = source.class_counts("train") + source.class_counts("validation")
    validated = []
    for fold in range(3):
        one = source.select(folded(source, 3, fold, seed=0))
        held = names(one, "validation")
        assert sorted(held + names(one, "train")) == whole
        assert names(one, "test") == names(source, "test")
        assert len(held) == one.sizes["validation"]
        assert np.abs(one.class_counts("validation") - share / 3).max() < 1
        assert (
            one.class_counts("validation").tolist()
            == np.bincount(
                [record["label"] for record in one.records("validation").as_numpy_iterator()]
            ).tolist()
        )
        validated += held
    assert sorted(validated) == whole


@pytest.mark.slow
def test_folds_are_drawn_by_the_seed(source):
    def first(seed):
        return sorted(names(source.select(folded(source, 3, 0, seed)), "validation"))

    assert first(0) == first(0)
    assert first(0) != first(1)


def test_a_smaller_few_shot_draw_is_a_subset_of_a_larger_one(source):
    chosen = {count: few_of_each_class(source, count, seed=0) for count in (2, 5)}
    labels = source.labels("train")
    assert np.bincount(labels[chosen[2]]).tolist() == [2, 2, 2]
    assert set(chosen[2]) < set(chosen[5])
    assert set(chosen[5]) != set(few_of_each_class(source, 5, seed=1))
    every = few_of_each_class(source, 1000, seed=0)
    assert every.tolist() == list(range(len(labels)))


def test_a_smaller_share_is_a_subset_of_a_larger_one():
    source = file_source((120, 60, 6))
    chosen = {share: share_of_each_class(source, share, seed=0) for share in (0.01, 0.05, 0.2, 1)}
    labels = source.labels("train")
    assert [np.bincount(labels[rows]).tolist() for rows in chosen.values()] == [
        [1, 1, 1],
        [6, 3, 1],
        [24, 12, 1],
        [120, 60, 6],
    ]
    assert set(chosen[0.01]) < set(chosen[0.05]) < set(chosen[0.2]) < set(chosen[1])
    assert set(chosen[0.05]) != set(share_of_each_class(source, 0.05, seed=1))


@pytest.mark.slow
def test_a_share_is_what_is_trained_on():
    whole = load_source(DatasetConfig(source="digits", name="digits"))
    part = load_source(DatasetConfig(source="digits", name="digits", train_share=0.05))
    assert part.class_counts("train").tolist() == [
        round(0.05 * count) for count in whole.class_counts("train")
    ]
    for split in ("validation", "test"):
        assert part.sizes[split] == whole.sizes[split]


@pytest.mark.slow
def test_a_few_shot_draw_from_a_fold_changes_train_only(source):
    fold = source.select(folded(source, 3, 1, seed=0))
    rows = few_of_each_class(fold, 2, seed=0)
    whole = {split: [(split, np.arange(fold.sizes[split]))] for split in SPLITS}
    few = fold.select({**whole, "train": [("train", rows)]})
    assert few.class_counts("train").tolist() == [2, 2, 2]
    assert few.sizes["train"] == len(names(few, "train")) == 6
    assert set(names(few, "train")) < set(names(fold, "train"))
    assert names(few, "validation") == names(fold, "validation")
    assert few.labels("train").tolist() == [
        record["label"] for record in few.records("train").as_numpy_iterator()
    ]


def test_more_folds_than_images_of_a_class():
    with pytest.raises(
        UserError, match=r"^dataset\.folds: got 25, expected at most 24, the images"
    ):
        folded(file_source(), 25, 0, 0)


@pytest.mark.filterwarnings("error")
def test_a_class_with_fewer_images_than_folds_is_no_warning():
    source = file_source((30, 30, 4))
    held = [source.select(folded(source, 5, fold, 0)).sizes["validation"] for fold in range(5)]
    assert sum(held) == source.sizes["train"] + source.sizes["validation"]


def test_more_folds_than_images_of_a_combination():
    names = ["a=x", "a=y", "b=x", "b=y"]
    labels = np.array([[1, 0, 0, 1]] * 25 + [[1, 0, 1, 0]] * 12 + [[0, 1, 0, 1]] * 18)
    ids = np.arange(len(labels)).astype(object)
    source = FileSource(
        class_names=names,
        sizes={"train": len(labels), "validation": 0, "test": 0},
        target=SEVERAL_LABELS.named(names),
        files={
            split: Files(ids[:count], ids[:count], labels[:count])
            for split, count in (("train", len(labels)), ("validation", 0))
        },
    )
    with pytest.raises(UserError, match=r"at most 25, the images of the largest combination of cl"):
        folded(source, 60, 0, 0)


def test_with_several_labels():
    source = file_source(target=ANY_CLASSES)
    with pytest.raises(
        UserError, match=r"^dataset\.examples_per_class: got 5 with task=multi_label"
    ):
        few_of_each_class(source, 5, 0)
    with pytest.raises(UserError, match=r"^dataset\.train_share: got 0\.2 with task=multi_label"):
        share_of_each_class(source, 0.2, 0)
    one = source.select(folded(source, 3, 0, seed=0))
    assert one.sizes == {"train": 36, "validation": 18, "test": 27}
