"""The parallel-coordinates plot of many runs, and its axes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from matplotlib.axes import Axes
from PIL import Image

from cait_finetune.report.parallel_coordinates import axis, draw_parallel_coordinates


def test_numbers_over_decades_stand_by_their_logarithm():
    rates = axis([1e-5, 1e-4, 1e-3])
    assert rates.places == pytest.approx([0, 0.5, 1])
    assert [name for _, name in rates.ticks] == ["1e-05", "0.0001", "0.001"]


def test_other_numbers_stand_by_their_size():
    assert axis([5, 10, 20]).places == pytest.approx([0, 1 / 3, 1])
    assert axis([0.0, 0.1, 100.0]).places[1] == pytest.approx(0.001)  # zero has no logarithm


def test_many_numbers_have_few_marks():
    ticks = axis(list(np.geomspace(2e-5, 3e-3, 40))).ticks
    assert [name for _, name in ticks] == ["2e-05", "0.0001", "0.001", "0.003"]
    assert len(axis(list(np.linspace(0, 1, 40))).ticks) == 5


def test_marks_do_not_cover_each_other():
    ticks = axis([1e-4, 1.01e-4, *np.geomspace(1e-4, 1.02e-2, 9)]).ticks
    heights = [height for height, _ in ticks]
    assert min(b - a for a, b in itertools.pairwise(heights)) > 0.05
    assert (heights[0], heights[-1]) == (0, 1)


def test_categories_have_places_and_null_is_the_last():
    mixed = axis([384, None, 64, True, "b"])
    assert [name for _, name in mixed.ticks] == ["true", "64", "384", "b", "null"]
    assert mixed.places == pytest.approx([0.5, 1, 0.25, 0, 0.75])
    assert axis(["a"]).places == [0.5]


def test_runs_of_one_value_run_side_by_side():
    for values in (["a", "a", "b"], [1, 1, 2]):
        first, second, third = axis(values).places
        assert 0 < abs(first - second) < 0.06
        assert third == pytest.approx(1)
    assert len(set(axis([0.5] * 4).places)) == 4


def test_a_long_name_keeps_both_ends():
    ((_, name),) = axis(["/a/very/long/path/to/some/weights.safetensors"]).ticks
    assert len(name) == 22
    assert name.startswith("/a/very")
    assert name.endswith("safetensors")


def test_different_values_have_different_names_and_places():
    rates = axis([0.00100001, 0.00100002])
    assert [name for _, name in rates.ticks] == ["0.00100001", "0.00100002"]
    paths = [f"/the/weights/of/run/{number}/of/a/sweep/best.safetensors" for number in range(2)]
    files = axis(paths)
    assert [name for _, name in files.ticks] == paths
    assert files.places == [0, 1]


def test_the_best_run_is_drawn_on_top(tmp_path):
    path = tmp_path / "p.png"
    settings = {"optimizer.base_lr": [1e-4, 1e-3, 1e-2], "model.name": ["a", "b", "a"]}
    draw_parallel_coordinates(settings, "validation_top1", [0.5, 0.9, 0.7], path)
    dark = np.array([0x44, 0x01, 0x54])  # viridis' colour for the best run
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    left = pixels[:, : pixels.shape[1] // 2]
    assert (np.abs(left - dark).sum(-1) < 12).sum() > 300
    more = tmp_path / "more.png"
    draw_parallel_coordinates({**settings, "seed": [0, 1, 2]}, "validation_top1", [0.5] * 3, more)
    assert Image.open(more).size[0] > Image.open(path).size[0]


def test_of_equal_scores_the_first_run_is_the_best(monkeypatch, tmp_path):
    thick, plot = [], Axes.plot

    def remember(self, x, y, **options):
        if options.get("linewidth") == 3:
            thick.append(y[0])
        return plot(self, x, y, **options)

    monkeypatch.setattr(Axes, "plot", remember)
    settings = {"train.epochs": [1, 2, 3]}
    draw_parallel_coordinates(settings, "validation_top1", [0.9, 0.9, 0.5], tmp_path / "a.png")
    assert thick == [0]
