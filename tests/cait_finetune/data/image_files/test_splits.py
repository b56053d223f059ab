"""The parts of a data set that become train, validation and test."""

from __future__ import annotations

import pytest

from cait_finetune.config import DatasetConfig, SplitsConfig
from cait_finetune.data.image_files.splits import planned
from cait_finetune.errors import UserError

ALL = {"train": 0.8, "validation": 0.1, "test": 0.1}


def plan(names, evaluation_only=False, **splits):
    config = DatasetConfig(
        name="mine", splits=SplitsConfig(**splits), evaluation_only=evaluation_only
    )
    return planned(config, names, "the folder")


@pytest.mark.parametrize("train", ["train", "Training"])
@pytest.mark.parametrize("validation", ["val", "valid", "validation", "dev"])
@pytest.mark.parametrize("test", ["test", "TESTING"])
def test_usual_names(train, validation, test):
    found = plan([train, validation, test, "other"])
    assert found.parts == {"train": train, "validation": validation, "test": test}
    assert not found.shares


@pytest.mark.parametrize(
    ("names", "splits", "parts", "shares"),
    [
        ([], {}, {}, ALL),
        (["train"], {}, {"train": "train"}, ALL),
        (
            ["train", "test"],
            {},
            {"train": "train", "test": "test"},
            {"train": 0.9, "validation": 0.1},
        ),
        (
            ["train", "val"],
            {},
            {"train": "train", "test": "val"},
            {"train": 0.9, "validation": 0.1},
        ),
        (
            ["train", "val"],
            {"validation": "val"},
            {"train": "train", "validation": "val"},
            {"train": 0.9, "test": 0.1},
        ),
        (["a", "b"], {"train": "b"}, {"train": "b"}, ALL),
        (
            ["a", "test", "train"],
            {"test": "a", "shares": [0.5, 0.3, 0.2]},
            {"train": "train", "test": "a"},
            {"train": 0.7, "validation": 0.3},
        ),
        (
            ["train", "test", "val"],
            {"train": "test", "test": "train"},
            {"train": "test", "validation": "val", "test": "train"},
            {},
        ),
    ],
)
def test_missing_splits_are_drawn_from_train(names, splits, parts, shares):
    found = plan(names, **splits)
    assert found.parts == parts
    assert dict(found.shares) == pytest.approx(shares)


def test_plan_mentions_an_unusual_split_assignment():
    assert plan(["train", "dev"]).words == "dev is tested on"
    assert plan(["train", "test"]).words == ""


@pytest.mark.parametrize(
    ("names", "splits", "message"),
    [
        (["a", "tests"], {"test": "test"}, "test: got 'test', expected one of a, tests, in the folder\n  did you mean tests?"),
        (["a", "b"], {"train": "a", "test": "a"}, "train: got 'a', which is also another split's, expected a different part"),
        (["val", "valid", "train"], {}, "validation: got nothing, and both val and valid in the folder, expected one of them\n  choose with dataset.splits.validation=valid"),
        (["val", "test"], {}, "train: got nothing, expected the part to train on: the folder has test, val and no train"),
        ([], {"test": "x"}, "test: got 'x', expected null, as there are no splits, in the folder"),
    ],
)  # fmt: skip
def test_impossible_split_assignments_raise_an_error(names, splits, message):
    with pytest.raises(UserError) as error:
        plan(names, **splits)
    assert str(error.value) == f"dataset.splits.{message}"


def test_to_evaluate_nothing_is_put_aside():
    assert plan([], evaluation_only=True).shares == {}
    for names in (["train", "val"], ["val"], ["test"], ["train"], ["x"]):
        found = plan(names, evaluation_only=True)
        assert set(found.parts) == {"train", "validation", "test"}
        assert not found.shares
    assert plan(["val"], evaluation_only=True).parts["test"] == "val"
    assert plan(["x"], evaluation_only=True, train="x", test="x").parts["train"] == "x"


def test_a_part_that_stands_for_another_split_is_named():
    words = plan(["train", "val"], evaluation_only=True).words
    assert words == "val is read as test"
    words = plan(["x"], evaluation_only=True).words
    assert words == "x is read as train and validation and test"
    assert plan(["train", "val", "test"], evaluation_only=True).words == ""


@pytest.mark.parametrize("word", [{"shares": [0.5, 0.25, 0.25]}, {"seed": 5}, {"file": "zz.csv"}])
@pytest.mark.parametrize(
    ("names", "evaluation_only"), [(["train", "val", "test"], False), (["train"], True)]
)
def test_keys_that_divide_nothing_are_refused(word, names, evaluation_only):
    (key,) = word
    with pytest.raises(UserError, match=rf"dataset\.splits\.{key}: got .*, expected null"):
        plan(names, evaluation_only, **word)
    assert plan(["train", "test"], **word).shares
