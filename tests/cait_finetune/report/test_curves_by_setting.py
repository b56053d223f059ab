"""The figure of a metric by one setting."""

from __future__ import annotations

import pytest
from matplotlib.axes import Axes
from PIL import Image

from cait_finetune.report.curves_by_setting import Axis, Curve, draw_curves


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Return a function that draws, and returns the x positions, the tick labels and the legend."""
    points, ticks, names = [], [], []
    errorbar, set_xticks = Axes.errorbar, Axes.set_xticks

    def remember(self, x, *rest, label, **options):
        points.append(list(x))
        names.append(label)
        return errorbar(self, x, *rest, label=label, **options)

    def remember_ticks(self, places, labels=None, **options):
        ticks.extend(labels or ())
        return set_xticks(self, places, labels, **options)

    monkeypatch.setattr(Axes, "errorbar", remember)
    monkeypatch.setattr(Axes, "set_xticks", remember_ticks)

    def draw(curves, axis):
        draw_curves(curves, axis, "test_top1", tmp_path / "figure.png")
        assert Image.open(tmp_path / "figure.png").size[0] > 300
        return points, ticks, names

    return draw


def test_numbers_that_are_close_have_their_own_places_and_labels(drawn):
    axis = Axis("base_lr", [0.00100001, 0.00100002], ["0.00100001", "0.00100002"])
    points, ticks, _ = drawn([Curve("all runs", [0, 1], [[0.5], [0.6, 0.7]])], axis)
    assert points == [axis.values]
    assert ticks == axis.labels


def test_other_values_have_equal_distances(drawn):
    axis = Axis("scale", [[0.08, 1], [0.5, 1], None], ["[0.08, 1]", "[0.5, 1]", "null"])
    points, ticks, _ = drawn([Curve("all runs", [0, 2], [[0.5], [0.6]])], axis)
    assert points == [[0, 2]]
    assert ticks == axis.labels


def test_long_names_of_lines_stay_different(drawn):
    names = [f"weights={'w' * 30}{number}{'w' * 30}" for number in range(2)]
    curves = [Curve(name, [0, 1], [[0.5], [0.6]]) for name in names]
    assert drawn(curves, Axis("seed", [1, 100], ["1", "100"]))[2] == names
