"""The class list, and the check that each class has images."""

from __future__ import annotations

import numpy as np
import pytest

from cait_finetune.config import DatasetConfig
from cait_finetune.data.image_files.class_list import (
    check_classes,
    class_list,
    in_order,
    outside,
    some,
    warn_of_near_names,
)
from cait_finetune.errors import UserError


def test_names_are_those_found_or_configured():
    assert class_list(DatasetConfig(name="mine"), ["a", "b"], "it") == ("a", "b")
    config = DatasetConfig(name="mine", class_names=["b", "a", "c"], num_classes=3)
    assert class_list(config, ["a", "b"], "it") == ("b", "a", "c")


def test_the_caller_decides_whether_one_class_is_enough():
    assert class_list(DatasetConfig(name="mine"), ["a"], "it", fewest=1) == ("a",)
    with pytest.raises(UserError, match=r"got it with no class, expected two classes or more"):
        class_list(DatasetConfig(name="mine"), [], "it")


def test_the_first_few_are_named():
    assert some("abcde") == "a, b, c, d, e"
    assert some("abcdef") == "a, b, c, d, e, … (6 in all)"
    message = str(outside("key", dict.fromkeys("abcdefg", ""), ["x"]))
    assert message == (
        "key: got labels outside the class list: 'a', 'b', 'c', 'd', 'e' and 2 more, expected those "
        "of dataset.class_names: x"
    )


def counts(train, validation, test):
    return {"train": np.array(train), "validation": np.array(validation), "test": np.array(test)}


def test_each_class_needs_images_to_train_on(warnings_shown):
    check_classes("ab", counts([1, 2], [1, 1], [1, 1]), needs_each_class=True)
    assert warnings_shown() == []
    check_classes("ab", counts([1, 2], [0, 1], [1, 0]), needs_each_class=True)
    assert warnings_shown() == ["validation has no image of a", "test has no image of b"]
    with pytest.raises(
        UserError, match=r"got class 'b' in validation but not in train, expected im"
    ):
        check_classes("ab", counts([1, 0], [1, 1], [1, 0]), needs_each_class=True)
    for needed in (False, True):
        with pytest.raises(UserError, match=r"got no image of class 'b', expected at least one"):
            check_classes("ab", counts([1, 0], [1, 0], [1, 0]), needs_each_class=needed)
    check_classes("ab", counts([1, 0], [1, 1], [1, 1]), needs_each_class=False)
    assert warnings_shown() == ["train has no image of b"]


def test_integers_are_sorted_as_numbers():
    assert in_order({"10", "9", "-1", "09"}) == ["-1", "09", "9", "10"]
    assert in_order(["10", "9", "b"]) == ["10", "9", "b"]
    assert in_order(["10", "1_0", "9"]) == ["10", "1_0", "9"]  # int() accepts 1_0


def test_names_that_are_nearly_the_same(warnings_shown):
    warn_of_near_names(["cat", "dog", "10", "1"])
    assert warnings_shown() == []
    warn_of_near_names(["Cat", "polar bear", "caf\u00e9", "cat", "polarbear", "cafe\u0301", " cat"])
    assert warnings_shown() == [
        "classes whose names differ only in case, spaces, dashes, zeros or Unicode form: 'Cat' and 'cat' and ' cat', "
        "'polar bear' and 'polarbear', 'caf\\xe9' and 'cafe\\u0301'; give them one name if they are one "
        "class"
    ]


def test_numbers_with_leading_zeros(warnings_shown):
    warn_of_near_names(["10", "1", "100", "a 5", "a 50", "2.0", "2.5", "20"])
    assert warnings_shown() == []
    warn_of_near_names(["1", "01", "1.0", "2", "img_007", "img_7", "ant\u200b", "ant"])
    (said,) = warnings_shown()
    assert "'01'" in said
    assert "'1' and '01' and '1.0', 'img_007' and 'img_7', 'ant\\u200b' and 'ant'" in said
