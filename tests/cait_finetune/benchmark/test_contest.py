import dataclasses

import pytest
from rich.console import Console

from cait_finetune.benchmark import contest
from cait_finetune.benchmark.task import Task
from tests.cait_finetune.benchmark.stand_ins import StandIn

TASKS = [Task("training", "cait_xxs24_224", precision, 8, 1)
         for precision in ("float32", "mixed_bfloat16")]  # fmt: skip
RULES = contest.Rules("cait_finetune.benchmark.ours", True, 0, lambda _: 1, rounds=1)


@pytest.fixture
def made(monkeypatch):
    """The contestants that are made."""
    contestants = []
    monkeypatch.setattr(
        contest, "Contestant", lambda *words: contestants.append(StandIn(*words)) or contestants[-1]
    )
    return contestants


def test_without_a_compiler_the_others_go_on(made, monkeypatch):
    monkeypatch.setattr(StandIn, "compiler", False)
    measured = contest.measure(TASKS, RULES, Console(quiet=True))
    assert measured.notes == ["torch.compile: no compiler"]
    assert [row.ratio for row in measured.rows] == [3.0, 3.0]
    assert list(measured.rows[0].speeds) == ["ours", "timm eager"]
    assert measured.peaks == {"float32": 1e12, "mixed_bfloat16": 1e12}
    assert measured.timm_peaks == {"float32": 4e11, "mixed_bfloat16": 4e11}
    # Of our side's peak, whatever PyTorch's is.
    assert measured.rows[0].share == pytest.approx(30 * measured.rows[0].operations / 1e12)
    assert all(one.ended for one in made)


def test_every_contestant_is_ended(made, monkeypatch):
    monkeypatch.setattr(StandIn, "measure", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        contest.measure(TASKS, RULES, Console(quiet=True))
    assert [one.ended for one in made] == [True] * 3


def test_latency_is_measured_with_one_thread_an_operation_too(made):
    task = Task("latency", "cait_xxs24_224", "float32", 1, 1)
    [row] = contest.measure([task], RULES, Console(quiet=True)).rows
    assert list(row.speeds) == ["ours", "ours, one thread an operation", "timm eager"]
    assert [one.task.single_threaded for one in made] == [False, True, False]
    assert (row.best, row.ratio, row.ratio_of("ours, one thread an operation")) == (
        "timm eager",
        3.0,
        6.0,
    )


def test_ours_alone_has_nobody_to_be_compared_with(made):
    task = Task("latency", "cait_xxs24_224", "float32", 1, 1)
    rules = dataclasses.replace(RULES, timm=False)
    measured = contest.measure([task], rules, Console(quiet=True))
    [row] = measured.rows
    assert not measured.timm_peaks
    assert list(row.speeds) == ["ours", "ours, one thread an operation"]
    assert (
        row.best
        is row.ratio
        is row.ratio_of("ours, one thread an operation")
        is row.memory_ratio
        is None
    )
