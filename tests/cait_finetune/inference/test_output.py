"""CSV and JSON files of predicted numbers. `test_results` has those of classes."""

import csv
import json
from pathlib import Path

import pytest

from cait_finetune.inference.output import write_predictions
from cait_finetune.inference.prediction import Answer, Number, Prediction

BROKEN = Prediction(Path("broken.png"), error="not an image (5 bytes)")


def with_intervals() -> list[Prediction]:
    rows = [(31.5, 30.0, 33.0, 1e-7, -1e-7, 3e-7), (20.25, 18.75, 21.75, 2e-7, 0.0, 4e-7)]
    return [BROKEN] + [
        Prediction(
            Path(f"{number}.png"), numbers=(Number("age", *row[:3]), Number("size, m", *row[3:]))
        )
        for number, row in enumerate(rows)
    ]


def without_intervals() -> list[Prediction]:
    numbers = (Number("age", 31.5), Number("size, m", 1e-7))
    return [BROKEN, Prediction(Path("0.png"), numbers=numbers)]


def rows_of(predictions: list[Prediction], path: Path) -> list[list[str]]:
    write_predictions(predictions, path)
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_csv_has_a_column_for_each_number_and_end(tmp_path):
    head, broken, *rows = rows_of(with_intervals(), tmp_path / "out.csv")
    assert head == [
        "path", "error", "age", "age_lower", "age_upper", "size, m", "size, m_lower", "size, m_upper",
    ]  # fmt: skip
    assert broken[:2] == ["broken.png", "not an image (5 bytes)"]
    assert not any(broken[2:])
    assert [row[:2] for row in rows] == [["0.png", ""], ["1.png", ""]]
    assert [float(cell) for cell in rows[0][2:]] == [31.5, 30.0, 33.0, 1e-7, -1e-7, 3e-7]
    assert [float(cell) for cell in rows[1][2:]] == [20.25, 18.75, 21.75, 2e-7, 0.0, 4e-7]


def test_csv_without_intervals_has_the_numbers_only(tmp_path):
    head, _, row = rows_of(without_intervals(), tmp_path / "out.csv")
    assert head == ["path", "error", "age", "size, m"]
    assert row == ["0.png", "", "31.5", "1e-07"]


@pytest.mark.parametrize("lower", [30.0, None])
def test_json_has_a_list_of_numbers(tmp_path, lower):
    predictions = without_intervals() if lower is None else with_intervals()
    write_predictions(predictions, tmp_path / "out.json")
    broken, first, *_ = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert broken == {"path": "broken.png", "numbers": [], "error": "not an image (5 bytes)"}
    assert first["error"] is None
    assert first["numbers"][0] == {
        "name": "age", "value": 31.5, "lower": lower, "upper": None if lower is None else 33.0,
    }  # fmt: skip
    assert [one["name"] for one in first["numbers"]] == ["age", "size, m"]


def test_files_of_classes_are_as_before(tmp_path):
    classes = Prediction(Path("a.png"), (("rose", 0.75), ("tulip", 0.25)))
    assert rows_of([classes], tmp_path / "out.csv") == [
        ["path", "error", "class_1", "probability_1", "class_2", "probability_2"],
        ["a.png", "", "rose", "0.75", "tulip", "0.25"],
    ]
    write_predictions([classes], tmp_path / "out.json")
    (one,) = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert "numbers" not in one
    assert one["classes"][1] == {"name": "tulip", "probability": 0.25}


def test_csv_has_different_columns_for_any_names(tmp_path):
    labels = (Answer("error", "a", 0.5), Answer("b", "c", 0.6), Answer("b_probability", "d", 0.7))
    head, row = rows_of([Prediction(Path("0.png"), answers=labels)], tmp_path / "labels.csv")
    assert head == [
        "path", "error", "error_2", "error_probability", "b", "b_probability", "b_probability_2",
        "b_probability_probability",
    ]  # fmt: skip
    assert row == ["0.png", "", "a", "0.5", "c", "0.6", "d", "0.7"]
    numbers = (Number("path", 1.5), Number("path_2", 2.5), Number("error", 3.5))
    head, _ = rows_of([Prediction(Path("0.png"), numbers=numbers)], tmp_path / "numbers.csv")
    assert head == ["path", "error", "path_3", "path_2", "error_2"]
