"""Report sections made from a run's files: the rows they show, and the rows they omit."""

import csv
import json

import pytest

from cait_finetune.report import sections
from cait_finetune.runs.directory import RunDirectory
from tests.cait_finetune.runs.test_html import Reader


@pytest.fixture
def run(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.parts.mkdir()
    return directory


def write(path, head, rows):
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([head, *rows])


def rows_of(content):
    """Return the texts of a table's cells, row by row."""
    lines = content.partition("<tbody>")[2].partition("</tbody>")[0].strip().splitlines()
    return [[text for text in Reader(line).text if text.strip()] for line in lines]


def test_without_files_there_is_no_section(run):
    for make in (sections.scores, sections.curves, sections.classes, sections.confusion,
                 sections.calibration, sections.mistakes, sections.speed, sections.export,
                 sections.parameters, sections.environment, sections.command):  # fmt: skip
        assert make(run) is None


def test_of_many_classes_the_worst_are_shown(run):
    head = ("name", "support", "precision", "recall", "f1", "average_precision")
    rows = [(f"class {n}", 4, "", n / 300, n / 300, "") for n in range(300)]
    write(run.parts / "classes.csv", head, [*rows, ("empty", 0, "", "", "", "")])
    content = sections.classes(run)
    shown = rows_of(content)
    assert len(shown) == 200
    assert shown[0] == ["class 0", "4", "–", "0.0%", "0.0%"]
    assert shown[199][0] == "class 199"
    assert "301 classes, of which 300 have test images" in content
    assert "report/classes.csv has all" in content
    assert f"recall {sum(range(300)) / 300 / 300:.2%}" in content


def test_several_labels_are_ordered_by_average_precision(run):
    head = ("name", "support", "precision", "recall", "f1", "average_precision")
    write(run.parts / "classes.csv", head, [("a", 4, 1, 1, 1, 0.9), ("b", 4, 0, 0, 0, 0.95)])
    assert [row[0] for row in rows_of(sections.classes(run))] == ["a", "b"]


def test_groups_are_summed_in_the_order_of_the_phases(run):
    head = ("phase", "path", "shape", "group", "multiplier", "weight_decay", "trainable")
    rows = [
        ("head", "a", "2x3", 0, 0.5, 0.05, False),
        ("head", "b", "", 10, 1, 0.0, True),
        ("head", "c", "4", 10, 1, 0.0, True),
        ("full", "a", "2x3", 0, 0.5, 0.05, True),
        ("full", "c", "4", 2, 1, 0.0, False),
    ]
    write(run.parameters, head, rows)
    assert rows_of(sections.parameters(run)) == [
        ["head", "0", "1", "0", "6", "0.5", "0.05"],
        ["head", "10", "2", "5", "5", "1", "0"],
        ["full", "0", "1", "6", "6", "0.5", "0.05"],
        ["full", "2", "1", "0", "4", "1", "0"],
    ]


@pytest.mark.parametrize("command", ["python -m cait_finetune 'a=<b>'", None])
def test_the_command_is_shown_as_it_was_typed(run, command):
    run.environment.write_text(json.dumps([{"working_directory": "/home/me"}]))
    if command:
        run.command.write_text(f"{command}\n")
    said = "".join(Reader(sections.command(run)).text)
    assert (command or "started from Python, not by a command") in said
    assert "config.yaml" in said


def test_a_run_without_mistakes(run):
    write(run.parts / "mistakes.csv", ("id", "truth", "prediction", "probability"), [])
    assert "classifies every test image correctly" in sections.mistakes(run)


def test_the_speed_section_formats_times_and_counts(run):
    result = {"images_per_second": None, "data_wait_share": None, "train_seconds": 3725.0,
              "wall_seconds": 59.6, "peak_memory_gb": 1.234, "steps": 9, "skipped_steps": 1}  # fmt: skip
    run.result.write_text(json.dumps(result))
    said = " ".join(Reader(sections.speed(run)).text)
    for words in ("1 h 02 min", "1 min 00 s", "1.23 GB", "not timed", "9, of which 1 skipped"):
        assert words in said


def test_mistakes_are_counted_by_class(run):
    rows = [
        ("1.jpg", "ant", "bee", 0.9),
        ("2.jpg", "ant", "cow", 0.8),
        ("3.jpg", "ant", "bee", 0.7),
    ]
    rows.append(("4.jpg", "cow", "bee", 0.6))
    write(run.parts / "mistakes.csv", ("id", "truth", "prediction", "probability"), rows)
    counted = sections.mistakes(run).partition("By class")[2]
    assert rows_of(counted) == [["ant", "bee", "2", "3"], ["cow", "bee", "1", "1"]]


@pytest.mark.parametrize(
    ("facts", "shown", "hidden"),
    [
        ({"temperature": 0.5}, "Temperature 0.5000, fitted on the", "No temperature"),
        ({"temperature": 1.0}, "Temperature 1: no temperature was fitted.", "No temperature"),
        ({"temperatures": {}}, "Temperature 1: no temperature was fitted.", "No temperature"),
        ({"temperatures": {"d": 0.5, "e": 2}}, "Temperature 0.5000 for d, 2.0000 for e, f", "No t"),
        (
            {"temperatures": {"d": 0.5}},
            "does not. No temperature was fitted for e. A fit",
            "1.0000",
        ),
        ({"temperatures": {"d": 1.0, "e": 2}}, "No temperature was fitted for d. A fit", "1.0000"),
    ],
)
def test_the_calibration_names_the_labels_without_a_temperature(run, facts, shown, hidden):
    measures = {"ece": 0.1, "ece_calibrated": 0.05, "loss": 1.0, "loss_calibrated": 0.9}
    split = measures | ({"ece/d": 0.1, "ece/e": 0.1} if "temperatures" in facts else {})
    text = json.dumps({**facts, "validation": split, "test": {**measures}})
    (run.parts / "scores.json").write_text(text)
    (run.parts / "reliability.png").touch()
    said = Reader(sections.calibration(run)).text[0]
    assert shown in said
    assert hidden not in said
