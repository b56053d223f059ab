import csv
import tracemalloc
import warnings

import numpy as np
import pytest
from PIL import Image

from cait_finetune.report.confusion import _blocks, confusion, draw_confusion, write_confusion

ODD = ["$x^2$", "<b>&", "画像", "a really very long name of a class " * 3, "a\nb", "plain"]


def matrix(classes, count=600, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    logits = rng.normal(size=(count, classes)) + 2 * np.eye(classes)[labels]
    return confusion(logits, labels, [f"class {index}" for index in range(classes)])


def test_rows_are_the_truth():
    labels = np.array([0, 0, 0, 1, 2])
    got = confusion(np.eye(4)[[0, 1, 1, 1, 0]], labels, list("abcd"))
    pairs = zip(got.truths, got.predictions, got.images, strict=True)
    assert list(pairs) == [(0, 0, 1), (0, 1, 2), (1, 1, 1), (2, 0, 1)]
    assert got.totals.tolist() == [3, 1, 1, 0]
    assert got.most_confused() == [(0, 1, 2, pytest.approx(2 / 3)), (2, 0, 1, 1.0)]
    assert len(got.most_confused(1)) == 1


def test_the_file_adds_up_to_every_image(tmp_path):
    one = matrix(30)
    write_confusion([one], tmp_path / "c.csv")
    with open(tmp_path / "c.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row["images"]) for row in rows) == 600
    wrong = [int(row["images"]) for row in rows if row["truth"] != row["prediction"]]
    assert wrong == sorted(wrong, reverse=True)
    assert len(wrong) > 20


@pytest.mark.slow
@pytest.mark.parametrize(
    ("classes", "least"), [(2, 300), (10, 500), (25, 900), (26, 600), (300, 600)]
)
def test_a_picture_for_any_number_of_classes(classes, least, tmp_path):
    draw_confusion(matrix(classes), "test images", tmp_path / "c.png")
    with Image.open(tmp_path / "c.png") as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
        assert least < picture.height < 1500
    blue = (pixels[..., 2] - pixels[..., 0]) > 60
    assert blue.sum() > 1000


def test_the_overview_has_the_largest_share_of_each_block():
    one = matrix(600, 900)
    dense = np.zeros((600, 600))
    dense[one.truths, one.predictions] = one.images
    shares = np.pad(dense / np.maximum(dense.sum(axis=1, keepdims=True), 1), (0, 1))
    wanted = [
        [shares[i : i + 3, j : j + 3].max() for j in range(0, 600, 3)] for i in range(0, 600, 3)
    ]
    np.testing.assert_array_equal(_blocks(one, 3), wanted)


@pytest.mark.slow
def test_memory_follows_the_images_not_the_classes(tmp_path):
    classes, count = 8_000, 500
    rng = np.random.default_rng(0)
    logits = np.zeros((count, classes), "float32")
    logits[np.arange(count), rng.integers(0, classes, count)] = 1
    names = [f"class {index}" for index in range(classes)]
    tracemalloc.start()
    one = confusion(logits, rng.integers(0, classes, count), names)
    write_confusion([one], tmp_path / "c.csv")
    draw_confusion(one, "test images", tmp_path / "c.png")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(one.images) <= count
    assert peak < 100e6  # a dense matrix would need several times as much


def test_the_numbers_are_on_it(tmp_path):
    for name, seed in (("one", 0), ("other", 1)):
        draw_confusion(matrix(4, 9, seed), "title", tmp_path / f"{name}.png")
    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "other.png").read_bytes()


def test_names_are_letters_and_no_mathematics(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labels = np.arange(6)
        right = confusion(np.eye(6), labels, ODD)
        draw_confusion(right, "$5 & <b>", tmp_path / "few.png")
        names = [*ODD, *map(str, range(24))]
        draw_confusion(
            confusion(np.roll(np.eye(30), 1, 0), np.arange(30), names), "", tmp_path / "many.png"
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["few.png", "many.png"]


def test_a_model_that_is_never_wrong(tmp_path):
    right = confusion(np.eye(30), np.arange(30), [str(index) for index in range(30)])
    assert right.most_confused() == []
    draw_confusion(right, "all right", tmp_path / "c.png")
    assert (tmp_path / "c.png").stat().st_size > 1000
