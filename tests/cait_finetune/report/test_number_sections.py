import json
import math

import numpy as np
import pytest

from cait_finetune.errors import UserError
from cait_finetune.report import number_sections as sections
from cait_finetune.report.number_figures import draw_predicted, draw_residuals
from cait_finetune.report.number_table import (
    image_errors,
    target_table,
    write_image_errors,
    write_target_table,
)
from cait_finetune.runs.directory import RunDirectory
from tests.cait_finetune.report.test_sections import rows_of


@pytest.fixture
def run(tmp_path):
    directory = RunDirectory(tmp_path)
    directory.parts.mkdir()
    return directory


def write_targets(run, widths, images=3, alpha=0.1):
    true = np.arange(images * len(widths), dtype=float).reshape(images, -1) * 1000
    names = [f"t<{number}>" for number in range(len(widths))]
    write_target_table(target_table(true + 500, true, names, widths), run.parts / "targets.csv")
    shown = {name: w if math.isfinite(w) else None for name, w in zip(names, widths, strict=True)}
    scores = {"test": {}, "alpha": alpha, "half_widths": shown}
    (run.parts / "scores.json").write_text(json.dumps(scores))


def test_without_files_there_is_no_section(run):
    assert sections.targets(run) is None
    assert sections.predicted(run) is None
    assert sections.errors(run) is None


def test_the_table_of_targets(run):
    write_targets(run, [600.0, math.inf])
    content = sections.targets(run)
    assert "<th class=n>MAE of the median</th>" in content
    assert rows_of(content) == [
        ["t<0>", "3", "500", "1,333", "500", "0.9062", "1", "2,000", "1,633", "600", "100.0%"],
        ["t<1>", "3", "500", "1,333", "500", "0.9062", "1", "3,000", "1,633", "–", "–"],
    ]


def test_the_intervals_are_explained(run):
    write_targets(run, [600.0, math.inf], alpha=0.05)
    content = sections.targets(run)
    assert "Split conformal prediction with alpha 0.05" in content
    assert "probability of at least 0.95" in content
    assert "No interval: t&lt;1&gt;. An interval needs at least 19 validation images" in content


def test_no_target_has_an_interval(run):
    write_targets(run, [math.inf])
    assert "No target has an interval. An interval needs at least 9 valid" in sections.targets(run)


def test_all_targets_have_an_interval(run):
    write_targets(run, [1.0, 2.0])
    assert "No interval" not in sections.targets(run)


def test_scores_without_alpha(run):
    write_targets(run, [1.0])
    (run.parts / "scores.json").unlink()
    assert "conformal" not in sections.targets(run)
    (run.parts / "scores.json").write_text("[")
    with pytest.raises(UserError, match=r"scores\.json"):
        sections.targets(run)


def test_predictions_that_are_not_finite_are_listed(run):
    write_targets(run, [1.0])
    assert "not finite, by target" not in sections.targets(run)
    predicted = np.array([[math.nan], [1.0]])
    rows = target_table(predicted, np.array([[0.0], [1.0]]), ["a"], np.array([1.0]))
    write_target_table(rows, run.parts / "targets.csv")
    assert "not finite, by target</b><ul><li>a (1)</li>" in sections.targets(run)


def test_many_targets_are_cut(run):
    write_targets(run, [1.0] * 250)
    content = sections.targets(run)
    assert len(rows_of(content)) == 200
    assert "the first 200 of 250 targets; report/targets.csv has all" in content


def test_the_figures_that_exist_are_shown(run):
    numbers = np.zeros((2, 1))
    draw_residuals(numbers, numbers, ["a"], np.ones(1), "", run.parts / "residuals.png")
    assert sections.predicted(run).count("<img") == 1
    draw_predicted(numbers, numbers, ["a"], np.ones(1), "", run.parts / "predicted.png")
    content = sections.predicted(run)
    assert content.count("<img") == 2
    assert content.index("predicted against true") < content.index("predicted minus true")


def write_errors(run, images):
    true = np.arange(images, dtype=float)[:, None]
    predicted = true + true * 0.5
    if images:
        predicted[0] = math.nan
    rows = image_errors([f"{n}.jpg" for n in range(images)], predicted, true, ["a"])
    write_image_errors(rows, run.parts / "errors.csv")


def test_the_images_with_the_largest_errors(run):
    write_errors(run, 300)
    content = sections.errors(run)
    shown = rows_of(content)
    assert len(shown) == 200
    assert shown[0] == ["0.jpg", "a", "0", "–", "–"]
    assert shown[1] == ["299.jpg", "a", "299", "448.5", "1.726"]
    assert "200 of 300 images; report/errors.csv has all" in content
    assert "<details>" in content
    assert "The images were not found here" in content


def test_the_sheet_of_images_is_shown_if_it_exists(run):
    write_errors(run, 2)
    (run.parts / "errors.png").write_bytes(b"png")
    content = sections.errors(run)
    assert content.count("<img") == 1
    assert "not found" not in content


def test_no_image_has_a_value(run):
    write_errors(run, 0)
    assert "No test image has a true value" in sections.errors(run)
