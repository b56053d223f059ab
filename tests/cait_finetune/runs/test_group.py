"""The mean of runs with equal settings, over their different draws."""

from __future__ import annotations

from pathlib import Path

import pytest

from cait_finetune.runs.group import Group
from cait_finetune.runs.leaderboard import Entry


def run(score, test=None, **settings):
    result = {
        "metric": "top1",
        "validation_top1": score,
        "test_top1": test,
        "intervals": {"test_top1": [0.307, 0.602]},
    }
    return Entry(Path("run"), {"seed": 0, **settings}, None, result)


def test_a_repeated_draw_counts_once_with_its_mean():
    group = Group([run(0.4, 0.4), run(0.6, 0.6), run(0.9, 0.9, seed=1)], "top1")
    assert group.values("test") == [0.5, 0.9]
    assert group.score == pytest.approx(0.7)
    assert group.title == "3 runs of 2 draws"
    assert [len(runs) for runs in group.repeated] == [2]


def test_every_key_of_a_draw_makes_another_draw():
    runs = [
        run(0.5),
        run(0.5, seed=1),
        run(0.5, **{"dataset.seed": 1}),
        run(0.5, **{"dataset.fold": 1}),
    ]
    assert len(Group(runs, "top1").draws) == 4
    assert Group(runs, "top1").title == "4 runs"


def test_differences_pair_the_means_of_equal_draws():
    one = Group([run(0, 0.4), run(0, 0.6), run(0, 0.9, seed=1)], "top1")
    other = Group([run(0, 0.3), run(0, 0.3, seed=1), run(0, 0.1, seed=2)], "top1")
    assert one.minus(other) == pytest.approx([0.2, 0.6])


def test_runs_without_the_metric_are_left_out():
    assert Group([run(0.5), run(0.5, 0.2)], "top1").values("test") == [0.2]
    assert Group([run(0.5)], "top1").cell("test") == ""


def test_one_run_has_the_interval_of_its_images_and_two_of_one_draw_do_not():
    assert Group([run(0, 0.45)], "top1").cell("test") == "45.00% (30.7–60.2)"
    assert Group([run(0, 0.45), run(0, 0.55)], "top1").cell("test") == "50.00%"
