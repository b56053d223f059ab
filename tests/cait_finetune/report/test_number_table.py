import csv
import math

import numpy as np
import pytest

from cait_finetune.report.number_table import (
    image_errors,
    target_table,
    write_image_errors,
    write_target_table,
)

NAN, INF = math.nan, math.inf


def column(*values):
    return np.array(values, "float32")[:, None]


def read(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_metrics_of_a_target():
    (row,) = target_table(column(1, 3, 2, 99), column(1, 2, 6, NAN), ["age"], np.array([1.5]))
    assert (row.target, row.images, row.not_finite) == ("age", 3, 0)
    assert row.mae == pytest.approx(5 / 3)
    assert row.rmse == pytest.approx(math.sqrt(17 / 3))
    assert row.mean == pytest.approx(3)
    assert row.std == pytest.approx(math.sqrt(14 / 3))
    assert row.r2 == pytest.approx(1 - 17 / 14)
    assert row.spearman == pytest.approx(0.5)
    assert row.mae_of_median == pytest.approx(5 / 3)  # of the mean: 2
    assert (row.half_width, row.coverage) == (1.5, pytest.approx(2 / 3))


def test_no_constant_has_a_lower_error_than_the_median():
    true = np.random.default_rng(0).gamma(1, size=(101, 1))
    (row,) = target_table(true, true, ["a"], np.array([1.0]))
    errors = [np.abs(true - constant).mean() for constant in np.linspace(0, 4, 400)]
    assert row.mae_of_median <= min(errors)


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
def test_a_prediction_that_is_not_finite_leaves_errors_undefined(bad):
    (row,) = target_table(column(bad, 2, 3), column(1, 2, 3), ["a"], np.array([1.0]))
    assert row.not_finite == 1
    assert math.isnan(row.mae)
    assert math.isnan(row.rmse)
    assert math.isnan(row.r2)
    assert row.coverage == pytest.approx(2 / 3)


def test_a_constant_target_has_no_r2():
    true = np.full((3, 1), 0.1)  # the mean of these is rounded
    (row,) = target_table(true + 0.5, true, ["a"], np.array([INF]))
    assert row.std == 0
    assert row.mae == pytest.approx(0.5)
    for undefined in (row.r2, row.spearman, row.half_width, row.coverage):
        assert math.isnan(undefined)


@pytest.mark.parametrize("images", [0, 2])
def test_a_target_without_values_has_blanks(images, tmp_path):
    rows = target_table(np.zeros((images, 1)), np.full((images, 1), NAN), ["a,b"], np.array([2.0]))
    write_target_table(rows, tmp_path / "t.csv")
    (row,) = read(tmp_path / "t.csv")
    given = {key: value for key, value in row.items() if value}
    assert given == {"target": "a,b", "images": "0", "not_finite": "0", "half_width": "2"}


def test_the_file_has_a_row_per_target(tmp_path):
    true = np.random.default_rng(0).normal(size=(9, 3))
    rows = target_table(true + 0.1, true, ["a", "角度", "$x$"], np.array([1, INF, 0.05]))
    write_target_table(rows, tmp_path / "t.csv")
    found = read(tmp_path / "t.csv")
    assert [row["target"] for row in found] == ["a", "角度", "$x$"]
    assert [row["half_width"] for row in found] == ["1", "", "0.05"]
    assert [row["coverage"] for row in found] == ["1", "", "0"]
    assert {row["mae"] for row in found} == {"0.1"}


def test_errors_are_compared_in_deviations():
    true = np.array([[0, 0], [2, 2000], [0, 0], [2, 2000]], float)  # deviations 1 and 1000
    predicted = true + np.array([[0.5, 100], [0, -3000], [2, 900], [0, 0]])
    rows = image_errors(["a", "b", "c", "d"], predicted, true, ["s", "l"])
    assert [(row.id, row.target) for row in rows] == [
        ("b", "l"),
        ("c", "s"),
        ("a", "s"),
        ("d", "s"),
    ]
    assert [row.error for row in rows] == pytest.approx([-3, 2, 0.5, 0])
    assert (rows[0].true, rows[0].predicted) == (2000, -1000)


def test_predictions_that_are_not_finite_come_first_and_are_blank(tmp_path):
    true = np.array([[0, 1], [1, NAN], [2, 3], [NAN, NAN]], float)
    predicted = np.array([[9, 1], [NAN, NAN], [2, INF], [NAN, 0]])
    rows = image_errors(["a", "b", "c", "no value"], predicted, true, ["s", "t"])
    assert [(row.id, row.target) for row in rows] == [("b", "s"), ("c", "t"), ("a", "s")]
    write_image_errors(rows, tmp_path / "e.csv")
    found = read(tmp_path / "e.csv")
    assert found[0] == {"id": "b", "target": "s", "true": "1", "predicted": "", "error": ""}
    assert found[2]["predicted"] == "9"


def test_errors_of_constant_targets_come_last_in_order():
    true = np.array([[5, 1, NAN], [5, NAN, 7], [5, 2, 7], [5, NAN, NAN]])
    predicted = true + np.array([[90, 0, 0], [3, 0, 4], [0, 0.1, 0], [8, 0, 0]])
    rows = image_errors(["a", "b", "c", "d"], predicted, true, ["constant", "t", "seven"])
    assert [(row.id, row.target) for row in rows] == [
        ("c", "t"), ("a", "t"), ("d", "constant"), ("b", "seven"),
    ]  # fmt: skip
    assert math.isnan(rows[2].error)


def test_without_images_there_are_no_errors(tmp_path):
    assert image_errors([], np.zeros((0, 2)), np.zeros((0, 2)), ["s", "t"]) == []
    write_image_errors([], tmp_path / "e.csv")
    assert (tmp_path / "e.csv").read_text().split() == ["id,target,true,predicted,error"]


def test_numbers_have_eight_digits(tmp_path):
    rows = image_errors(["a"], column(0.1), column(1234567.5), ["t"])
    write_image_errors(rows, tmp_path / "e.csv")
    (row,) = read(tmp_path / "e.csv")
    assert (row["predicted"], row["true"], row["error"]) == ("0.1", "1234567.5", "")
