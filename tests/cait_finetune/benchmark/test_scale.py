import json
import sys
from types import SimpleNamespace

import pytest
from PIL import Image

from cait_finetune.benchmark import scale
from cait_finetune.benchmark.scale import Line, Series
from cait_finetune.benchmark.task import Task
from cait_finetune.benchmark.worker import Memory
from cait_finetune.commands import benchmark as command
from tests.cait_finetune.benchmark.stand_ins import StandIn

FREE = SimpleNamespace(available=4_000_000_000)


@pytest.fixture
def benchmark(tmp_path, monkeypatch):
    monkeypatch.setattr(scale, "Worker", StandIn)
    monkeypatch.setattr(scale.psutil, "virtual_memory", lambda: FREE)

    def run(*words):
        words = ["models=cait_xxs24_224", "threads=1", "rounds=2", f"out={tmp_path}", *words]
        monkeypatch.setattr(sys, "argv", ["benchmark", "scale", *words])
        command.main()
        return (tmp_path / "scale.md").read_text(), json.loads(
            (tmp_path / "scale.json").read_text()
        )

    return run


def test_speed_memory_and_the_batch_that_fits(benchmark, tmp_path, capsys):
    text, figures = benchmark("batch_sizes=[16,1,4]")
    assert text in capsys.readouterr().out
    assert "| training cait_xxs24_224, float32 | 16 | 30 (30–30) | 2.60 |" in text
    assert "| training cait_xxs24_224, float32 | 100 | 70 | 150 | 230 | 390 | 790 |" in text
    assert "| training cait_xxs24_224 with remat, float32 | 10 | 700 | 1500 |" in text
    assert "left out" not in text
    inference, plain, remat = figures["series"]
    assert inference["task"]["work"] == "inference"
    assert plain["line_bytes"] == pytest.approx({"fixed": 9.99e8, "per_image": 1e8})
    assert remat["task"]["remat"]
    assert list(plain["speeds"]) == ["1", "4", "16"]
    assert plain["speeds"]["4"] == {"rounds": [30, 30]}
    picture = Image.open(tmp_path / "scale.png")
    assert picture.size[0] > 1000
    assert len(set(picture.convert("RGB").getdata())) > 20


def test_what_would_not_fit_is_left_out(benchmark):
    text, figures = benchmark("batch_sizes=[1,4,64,65]", "work=training")
    why = "would take 7.4 GB of the 4.0 GB available"
    assert f"left out: training cait_xxs24_224, float32, batch 64: {why}\n" in text
    assert "float32, batch 65: a smaller batch did not fit\n" in text
    plain, remat = figures["series"]
    assert plain["skipped"]["64"] == why
    assert list(remat["speeds"]) == ["1", "4", "64", "65"]


def test_a_model_whose_weights_alone_do_not_fit(benchmark, capsys):
    text, figures = benchmark("models=cait_m48_448", "work=training", "batch_sizes=[1,2]")
    assert "scale.png" not in capsys.readouterr().out
    assert "batch 1: would take 6.5 GB of the 4.0 GB available" in text
    assert "The largest batch" not in text
    assert figures["series"][0]["line_bytes"] is None


def test_a_process_that_the_system_ends_is_left_out(benchmark, monkeypatch):
    monkeypatch.setattr(StandIn, "most", 4)
    text, figures = benchmark("batch_sizes=[1,4,8]", "work=training")
    assert "batch 8: the system ended it" in text
    assert list(figures["series"][0]["speeds"]) == ["1", "4"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["batch_sizes=[4,0]"], r"batch_sizes: got 0"),
        (["batch_sizes=[]"], "batch_sizes"),
        (["batch_sizes=[a]"], "batch_sizes"),
        (["work=latency"], "work: got latency"),
        (["precision=half"], "precision: got half"),
        (["models=cait_xxs24"], "did you mean"),
    ],
)
def test_a_mistake_is_said_before_anything_is_started(benchmark, words, message):
    with pytest.raises(SystemExit, match=message):
        benchmark(*words)


def test_fixed_bytes_and_bytes_of_an_image():
    line = Line.fit({1: 1.2e9, 4: 1.8e9, 16: 4.2e9})
    assert line.fixed == pytest.approx(1e9)
    assert line.per_image == pytest.approx(0.2e9)
    assert line.at(10) == pytest.approx(3e9)


def test_the_largest_batch_just_fits():
    line = Line(fixed=1e9, per_image=0.25e9)
    assert line.largest(8e9) == 28
    assert line.at(28) <= 8e9 < line.at(29)
    assert line.largest(1e9) == line.largest(0.5e9) == 0


def test_a_forecast_from_the_measured_batches(monkeypatch):
    monkeypatch.setattr(scale, "_LIBRARIES", 1e9)
    task = Task("inference", "cait_nano_32", "float32", 2, 1)
    start = 1e9 + 4 * task.variant.parameters
    series = Series(task)
    assert series.forecast(16) == start
    series.memory[2] = Memory(0, 0, round(start + 2e9))
    assert series.forecast(16) == pytest.approx(start + 16e9)
    series.memory[4] = Memory(0, 0, round(start + 2.5e9))
    assert series.forecast(16) == pytest.approx(start + 5.5e9)
