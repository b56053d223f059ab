"""Images from which runs with different folds, seeds and shares drew."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import pytest

from cait_finetune.data.fingerprint import Image, split_print
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.image_list import write_images
from cait_finetune.runs.leaderboard import read_entry
from tests.cait_finetune.runs.test_leaderboard import write_run
from tests.cait_finetune.runs.test_unlike import said

POOL = [Image("", f"{number}.jpg", "ab"[number % 2], f"{number:x}") for number in range(8)]
TEST = [Image("test", "9.jpg", "a", "9")]


def run_on(directory, train, validation, test=TEST, **settings):
    """Return a run that recorded its images, as training records them."""
    run = RunDirectory(write_run(directory, 0.5, **settings))
    images = [
        *(dataclasses.replace(image, split="train") for image in train),
        *(dataclasses.replace(image, split="validation") for image in validation),
        *test,
    ]
    write_images(run.images, images)
    splits = {
        split: dataclasses.asdict(split_print([one for one in images if one.split == split]))
        for split in ("train", "validation", "test")
    }
    run.write_result({**run.read_result(), "data": {"splits": splits}})
    return read_entry(run.root)


def fold(directory, number, pool, test=TEST, **settings):
    """Return a run on one of two folds."""
    folds = {"dataset__folds": 2, "dataset__fold": number, "dataset__seed": 0, **settings}
    return run_on(directory, pool[1 - number :: 2], pool[number::2], test, **folds)


def share(directory, draw, train, **settings):
    """Return a run on a part of the training images."""
    drawn = {"dataset__train_share": 0.5, "dataset__seed": draw, **settings}
    return run_on(directory, train, POOL[6:], **drawn)


def with_one(**changes):
    """Return the pool with another image 3."""
    return [*POOL[:3], dataclasses.replace(POOL[3], **changes), *POOL[4:]]


def test_folds_of_one_pool_are_silent(tmp_path):
    folds = [fold(tmp_path / str(number), number, POOL) for number in range(2)]
    assert said(folds, tmp_path) == []
    assert said([*folds, run_on(tmp_path / "2", POOL[:6], POOL[6:])], tmp_path) == [
        "images  0 and 2 were scored on different validation images"
    ]


@pytest.mark.parametrize(
    ("pool", "change"),
    [
        (with_one(content="f"), "1 image with other content (3.jpg)"),
        (with_one(label="a"), "1 image relabelled (3.jpg)"),
        (POOL[:-2], "2 images gone (6.jpg, 7.jpg)"),
        ([*POOL, Image("", "new.jpg", "a", "e")], "1 image new (new.jpg)"),
    ],
)
def test_a_changed_pool_of_folds_is_reported_once(tmp_path, pool, change):
    runs = [fold(tmp_path / "0", 0, POOL), fold(tmp_path / "1", 1, pool)]
    lines = [f"images  train and validation together changed between 0 and 1: {change}"]
    assert said(runs, tmp_path) == lines
    third = fold(tmp_path / "2", 1, pool, dataset__cache="memory")
    assert said([*runs, third], tmp_path) == lines


def test_folds_with_different_test_images_are_reported(tmp_path):
    other = [dataclasses.replace(TEST[0], content="f")]
    runs = [fold(tmp_path / "0", 0, POOL), fold(tmp_path / "1", 1, POOL, other)]
    assert said(runs, tmp_path) == ["images  0 and 1 were scored on different test images"]


def test_one_fold_has_equal_validation_images(tmp_path):
    pool = with_one(content="f")
    runs = [fold(tmp_path / str(number), 1, one) for number, one in enumerate((POOL, pool))]
    assert said(runs, tmp_path)[0] == "images  0 and 1 were scored on different validation images"


def test_draws_from_one_pool_are_silent(tmp_path):
    runs = [
        share(tmp_path / "0", 0, POOL[0:3]),
        share(tmp_path / "1", 1, POOL[2:5]),
        share(tmp_path / "2", 0, POOL[0:4], dataset__train_share=0.7),
    ]
    assert said(runs, tmp_path) == []
    assert said([*runs, run_on(tmp_path / "all", POOL[:6], POOL[6:])], tmp_path) == []


def test_a_changed_image_in_two_draws_is_reported(tmp_path):
    runs = [share(tmp_path / "0", 0, POOL[1:4]), share(tmp_path / "1", 1, with_one(label="a")[3:6])]
    assert said(runs, tmp_path) == [
        "images  train and validation together changed between 0 and 1: 1 image relabelled (3.jpg)"
    ]


def test_contents_are_compared_where_one_run_of_a_draw_knows_them(tmp_path):
    unknown = [dataclasses.replace(image, content="") for image in POOL]
    runs = [
        fold(tmp_path / "unknown", 0, unknown),
        fold(tmp_path / "0", 0, POOL),
        fold(tmp_path / "1", 1, with_one(content="f")),
    ]
    assert said(runs[::2], tmp_path) == []
    assert "changed between 0 and 1: 1 image with other content" in said(runs, tmp_path)[-1]


def test_an_older_run_drew_by_the_seed_of_the_splits(tmp_path):
    runs = [
        share(tmp_path / str(seed), None, POOL[seed : seed + 3], seed=seed) for seed in range(2)
    ]
    assert said(runs, tmp_path)[0].startswith(
        "images  0 and 1 were trained on different images under the same settings"
    )


def test_a_draw_with_an_image_outside_the_pool_is_reported(tmp_path):
    new = Image("", "new.jpg", "a", "e")
    runs = [
        share(tmp_path / "0", 0, [new, *POOL[:2]]),
        run_on(tmp_path / "all", POOL[:6], POOL[6:]),
    ]
    assert said(runs, tmp_path) == [
        "images  train and validation together changed between all and 0: 1 image new (new.jpg)"
    ]


def test_draws_of_different_sizes_are_reported(tmp_path):
    runs = [share(tmp_path / "0", 0, POOL[0:3]), share(tmp_path / "1", 1, POOL[2:6])]
    assert said(runs, tmp_path) == [
        "images  0 drew 3 training images and 1 4 under the same settings: images are new or gone"
    ]


def test_another_order_is_no_difference(tmp_path):
    two = [TEST[0], Image("test", "a.jpg", "b", "a")]
    runs = [
        run_on(tmp_path / "0", POOL[:6], POOL[6:], two),
        run_on(tmp_path / "1", POOL[5::-1], POOL[:5:-1], two[::-1]),
    ]
    assert said(runs, tmp_path) == []


def test_an_image_that_changed_its_split_is_reported(tmp_path):
    runs = [run_on(tmp_path / "0", POOL[:6], POOL[6:]), run_on(tmp_path / "1", POOL[:5], POOL[5:])]
    assert said(runs, tmp_path) == [
        "images  0 and 1 were scored on different validation images",
        "images  0 and 1 were trained on different images under the same settings: "
        "1 image moved from train to validation (5.jpg)",
    ]


def test_an_unreadable_image_list_is_reported_only_if_it_is_needed(tmp_path):
    runs = [fold(tmp_path / str(number), number, POOL) for number in range(2)]
    (tmp_path / "1" / "images.csv.gz").write_bytes(b"damaged")
    (line,) = said(runs, tmp_path)
    assert line.startswith("images  train and validation images of 1 were not compared")
    again = fold(tmp_path / "again", 1, POOL)
    (tmp_path / "again" / "images.csv.gz").unlink()
    assert said([runs[1], again], tmp_path) == []


def test_the_comparison_needs_no_tensorflow():
    code = "import sys, cait_finetune.runs.unlike; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
