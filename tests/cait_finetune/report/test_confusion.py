import csv
import warnings

import numpy as np
import pytest
from PIL import Image

from cait_finetune.report.confusion import confusion, draw_confusion, write_confusion

ODD = ["$x^2$", "<b>&", "画像", "a really very long name of a class " * 3, "a\nb", "plain"]


def matrix(classes, count=600, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    logits = rng.normal(size=(count, classes)) + 2 * np.eye(classes)[labels]
    return confusion(logits, labels, [f"class {index}" for index in range(classes)])


def test_rows_are_the_truth():
    labels = np.array([0, 0, 0, 1, 2])
    got = confusion(np.eye(4)[[0, 1, 1, 1, 0]], labels, list("abcd"))
    np.testing.assert_array_equal(
        got.counts, [[1, 2, 0, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    )
    assert got.most_confused() == [(0, 1, 2, pytest.approx(2 / 3)), (2, 0, 1, 1.0)]
    assert len(got.most_confused(1)) == 1


def test_the_file_adds_up_to_every_image(tmp_path):
    one = matrix(30)
    write_confusion(one, tmp_path / "c.csv")
    with open(tmp_path / "c.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(int(row["images"]) for row in rows) == 600
    wrong = [int(row["images"]) for row in rows if row["truth"] != row["prediction"]]
    assert wrong == sorted(wrong, reverse=True)
    assert len(wrong) > 20


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
