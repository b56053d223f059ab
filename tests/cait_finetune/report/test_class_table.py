import csv
import math

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from cait_finetune.report.class_table import class_table, write_class_table

NAMES = ["cat", "a,b", "never predicted", "no image"]


def logits_of(predicted, classes=4):
    return np.eye(classes)[predicted] * 3.0


def test_support_precision_recall_and_f1_of_each_class():
    labels = np.array([0, 0, 0, 1, 1, 2])
    rows = class_table(logits_of([0, 0, 1, 1, 1, 0]), labels, NAMES)
    assert [row.support for row in rows] == [3, 2, 1, 0]
    cat, other, missed, absent = rows
    assert (cat.precision, cat.recall) == (pytest.approx(2 / 3), pytest.approx(2 / 3))
    assert (other.precision, other.recall) == (pytest.approx(2 / 3), 1.0)
    assert cat.f1 == pytest.approx(2 / 3)
    assert other.f1 == pytest.approx(0.8)
    assert (missed.recall, missed.f1) == (0.0, 0.0)
    assert math.isnan(missed.precision)
    assert math.isnan(absent.recall)
    assert math.isnan(absent.f1)


def test_several_labels_have_average_precision():
    rng = np.random.default_rng(0)
    labels = (rng.random((40, 3)) < 0.4).astype("float32")
    labels[:, 2] = 0
    logits = rng.normal(size=labels.shape) + labels
    rows = class_table(logits, labels, NAMES[:3])
    for index in range(2):
        wanted = average_precision_score(labels[:, index], logits[:, index])
        assert rows[index].average_precision == pytest.approx(wanted)
        given = logits[:, index] > 0
        assert rows[index].recall == pytest.approx(given[labels[:, index] == 1].mean())
    assert math.isnan(rows[2].average_precision)


@pytest.mark.parametrize("count", [2, 256, 257, 600])
def test_many_labels_are_scored_as_few(count):
    rng = np.random.default_rng(count)
    labels = (rng.random((30, count)) < 0.3).astype("float32")
    logits = rng.normal(size=labels.shape) + labels
    rows = class_table(logits, labels, [str(index) for index in range(count)])
    assert [row.name for row in rows] == [str(index) for index in range(count)]
    for index in (0, count // 2, count - 1):
        (alone,) = class_table(logits[:, [index]], labels[:, [index]], [str(index)])
        assert repr(rows[index]) == repr(alone)


def test_one_label_alone():
    labels = np.array([[1.0], [0.0], [1.0], [0.0]])
    (row,) = class_table(np.array([[2.0], [1.0], [-1.0], [-2.0]]), labels, ["cat"])
    assert (row.support, row.precision, row.recall) == (2, 0.5, 0.5)


def test_the_file_has_a_row_a_class_and_blanks_for_nothing(tmp_path):
    labels = np.array([0, 0, 0, 1, 1, 2])
    write_class_table(class_table(logits_of([0, 0, 1, 1, 1, 0]), labels, NAMES), tmp_path / "c.csv")
    with open(tmp_path / "c.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == NAMES
    assert rows[2]["precision"] == rows[3]["f1"] == rows[0]["average_precision"] == ""
    assert float(rows[0]["recall"]) == pytest.approx(2 / 3)
