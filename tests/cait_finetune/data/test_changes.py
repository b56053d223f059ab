"""The words for the changes between two lists of images."""

import pytest

from cait_finetune.data.changes import differences
from cait_finetune.data.fingerprint import Image, fingerprint
from tests.cait_finetune.data.test_fingerprint import IDS, source


def test_each_kind_of_change_in_words():
    _, before = fingerprint(source())
    ids = {
        "train": ["ant/1.jpg", "bee/1.jpg", "ant/2.jpg"],
        "validation": ["bee/2.jpg", "ant/4.jpg"],
        "test": ["bee/3.jpg"],
    }
    assert differences(before, fingerprint(source(ids=ids))[1]) == [
        "1 image new (ant/4.jpg)",
        "1 image gone (ant/3.jpg)",
        "1 image moved from validation to train (ant/2.jpg)",
        "1 image moved from train to validation (bee/2.jpg)",
    ]
    assert differences(before, before) == []
    other_order = {**IDS, "train": IDS["train"][::-1]}
    words = differences(before, fingerprint(source(ids=other_order))[1])
    assert words == ["the same images in another order"]


def test_differences_include_changed_contents():
    _, before = fingerprint(source())
    replaced = {"ant/1.jpg": "other", "bee/2.jpg": "too"}
    assert differences(before, fingerprint(source(contents=replaced))[1]) == [
        "2 images with other content (ant/1.jpg, bee/2.jpg)"
    ]
    ids = {
        "train": ["ant/9.jpg", "bee/1.jpg", "ant/2_was_bee.jpg"],
        "validation": IDS["validation"],
        "test": ["bee/3.jpg", "ant/3.jpg"],
    }
    renamed = {"ant/9.jpg": "ant/1.jpg", "ant/2_was_bee.jpg": "bee/2.jpg"}
    assert differences(before, fingerprint(source(ids=ids, contents=renamed))[1]) == [
        "1 image renamed (ant/9.jpg)",
        "1 image relabelled (ant/2_was_bee.jpg)",
    ]
    exchanged = {"bee/2.jpg": "bee/3.jpg", "bee/3.jpg": "bee/2.jpg"}
    assert differences(before, fingerprint(source(contents=exchanged))[1]) == [
        "2 images with other content (bee/2.jpg, bee/3.jpg)"
    ]


def test_contents_that_are_unknown_count_as_equal():
    listed, unlisted = (fingerprint(source(contents=contents))[1] for contents in ((), None))
    assert differences(listed, unlisted) == differences(unlisted, listed) == []
    ids = {**IDS, "validation": ["ant/2 (copy).jpg"]}
    gone = ["1 image new (ant/2 (copy).jpg)", "1 image gone (ant/2.jpg)"]
    assert differences(unlisted, fingerprint(source(ids=ids))[1]) == gone


@pytest.mark.parametrize(
    ("now", "words"),
    [
        (Image("train", "a", "bee", "c"), "1 image relabelled (a)"),
        (Image("train", "a", "ant\x1fweight 2", "c"), "1 image with another weight (a)"),
        (Image("train", "b", "ant", "c"), "1 image renamed (b)"),
        (Image("test", "b", "ant", "c"), "1 image moved from train to test (b)"),
        (Image("train", "a", "ant", "d"), "1 image with other content (a)"),
    ],
)
def test_differences_describes_the_change_of_one_image(now, words):
    other = Image("test", "other", "bee", "e")
    assert differences([Image("train", "a", "ant", "c"), other], [now, other]) == [words]


def test_label_and_split_match_renamed_images_of_equal_content():
    before = [Image("train", "a", "ant", "c"), Image("test", "b", "bee", "c")]
    after = [Image("test", "x", "bee", "c"), Image("train", "y", "ant", "c")]
    assert differences(before, after) == ["2 images renamed (x, y)"]


def test_an_image_that_is_listed_once_more():
    once = Image("train", "a", "ant", "c")
    other = Image("test", "b", "bee", "d")
    words = ["1 image listed 2 times instead of 1 (a)"]
    assert differences([once, other], [once, other, once]) == words
    twice = [once, Image("train", "a", "bee", "c"), Image("train", "a", "bee", "c")]
    relabelled = [once, once, Image("train", "a", "bee", "c")]
    assert differences(twice, relabelled) == ["1 image relabelled (a)"]
