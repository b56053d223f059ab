from types import SimpleNamespace

import pytest
from rich.console import Console

from cait_finetune.benchmark import comparison
from cait_finetune.benchmark.comparison import OURS_TENSORFLOW, Speeds, compare, in_turn, ratio
from cait_finetune.benchmark.roofline import task_flops
from cait_finetune.benchmark.task import Task
from tests.cait_finetune.benchmark.stand_ins import StandIn

TASKS = [Task("training", "cait_xxs24_224", precision, 8, 1)
         for precision in ("float32", "mixed_bfloat16")]  # fmt: skip


def measure(tasks, timm=True):
    config = SimpleNamespace(timm=timm, warmup=0, rounds=1)
    return compare(tasks, OURS_TENSORFLOW, config, Console(quiet=True))


@pytest.fixture
def made(monkeypatch):
    """Replace `Worker` with `StandIn`; return the list of workers that the comparison makes."""
    workers = []
    monkeypatch.setattr(
        comparison, "Worker", lambda *words: workers.append(StandIn(*words)) or workers[-1]
    )
    return workers


def test_without_a_compiler_the_others_are_measured(made, monkeypatch):
    monkeypatch.setattr(StandIn, "compiler", False)
    measured = measure(TASKS)
    assert measured.notes == ["torch.compile: no compiler"] * 2
    assert [row.ratio() for row in measured.rows] == [3.0, 3.0]
    assert list(measured.rows[0].speeds) == ["ours", "timm eager"]
    assert measured.peaks == {"float32": 1e12, "mixed_bfloat16": 1e12}
    assert measured.timm_peaks == {"float32": 4e11, "mixed_bfloat16": 4e11}
    # The share is relative to our peak, not to PyTorch's.
    assert measured.rows[0].share == pytest.approx(30 * task_flops(TASKS[0]) / 1e12)
    assert all(one.stopped for one in made)


def test_every_worker_is_stopped(made, monkeypatch):
    monkeypatch.setattr(StandIn, "measure", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        measure(TASKS)
    assert [one.stopped for one in made] == [True] * 3


def test_latency_is_measured_with_one_thread_an_operation_too(made):
    task = Task("latency", "cait_xxs24_224", "float32", 1, 1)
    [row] = measure([task]).rows
    assert list(row.speeds) == ["ours", "ours, one thread per operation", "timm eager"]
    assert [one.task.single_threaded for one in made] == [False, True, False]
    assert (row.best, row.ratio(), row.ratio("ours, one thread per operation")) == (
        "timm eager",
        3.0,
        6.0,
    )


def test_without_timm_there_is_no_ratio(made):
    task = Task("latency", "cait_xxs24_224", "float32", 1, 1)
    measured = measure([task], timm=False)
    [row] = measured.rows
    assert not measured.timm_peaks
    assert list(row.speeds) == ["ours", "ours, one thread per operation"]
    assert (
        row.best
        is row.ratio()
        is row.ratio("ours, one thread per operation")
        is row.memory_ratio
        is None
    )


def test_libraries_take_turns_in_changing_order():
    order, done = [], []
    speeds = iter([10.0, 5.0, 7.0, 20.0, 30.0, 10.0])

    def measurement(name):
        return lambda: (order.append(name), next(speeds))[1]

    measured = in_turn({name: measurement(name) for name in "ab"}, 3, lambda: done.append(1))
    assert "".join(order) == "abbaab"
    assert measured["a"].rounds == (10.0, 20.0, 30.0)
    assert measured["b"].rounds == (5.0, 7.0, 10.0)
    assert len(done) == 6
    assert measured["a"].median == 20
    assert str(measured["b"]) == "7 (5–10)"


def test_the_ratio_pairs_the_speeds_of_each_round():
    ours, theirs = Speeds((10.0, 100.0, 12.0)), Speeds((5.0, 50.0, 4.0))
    assert ratio(ours, theirs) == 2.0
    with pytest.raises(ValueError, match="zip"):
        ratio(ours, Speeds((1.0,)))


def test_speeds_print_three_digits_or_the_whole_number():
    assert str(Speeds((1444.4, 3.456, 27.04))) == "27 (3.46–1444)"
