import json
import sys

import pytest

from cait_finetune.benchmark import comparison, model
from cait_finetune.benchmark.comparison import TIMM
from cait_finetune.benchmark.roofline import model_flops
from cait_finetune.benchmark.task import Task
from cait_finetune.benchmark.worker import Worker
from cait_finetune.commands import benchmark as command
from cait_tf.variants import VARIANTS
from tests.cait_finetune.benchmark.stand_ins import StandIn

XXS = VARIANTS["cait_xxs24_224"]


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setattr(comparison, "Worker", StandIn)
    return StandIn


def run(tmp_path, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["benchmark", "model", *words, f"out={tmp_path / 'out'}"])
    command.main()
    return (tmp_path / "out/model.md").read_text(), json.loads(
        (tmp_path / "out/model.json").read_text()
    )


def test_tables_and_the_figures_behind_them(tmp_path, monkeypatch, capsys, stand_in):
    monkeypatch.setattr(model, "check_models", lambda *_, **__: None)  # timm may be missing
    text, figures = run(tmp_path, monkeypatch, "models=cait_xxs24_224", "precisions=float32",
                        "rounds=3", "threads=1", "batch_sizes=8")  # fmt: skip
    assert text in capsys.readouterr().out
    share = 30 * model_flops(XXS) / 1e12
    assert (
        "| inference cait_xxs24_224, float32 | 8 | 30 (30–30) | 10 (10–10) | 20 (20–20) | 1.50× | "
        f"{share:.0%} |\n"
        "| training cait_xxs24_224, float32 | 8 | 30 (30–30) | 10 (10–10) | 20 (20–20) | 1.50× | "
        f"{3 * share:.0%} |\n"
    ) in text
    gigabytes = "1.80 (1.40)"
    assert f"| training cait_xxs24_224, float32 | 8 |{f' {gigabytes} |' * 3} 1.00× |" in text
    assert (
        "| latency cait_xxs24_224, float32 | 33.3 (33.3–33.3) | 0.33× | 16.7 (16.7–16.7) | 0.17× | "
        "100 (100–100) |"
    ) in text
    assert (
        "Peak: the fastest matrix product here, 1000 GFLOP/s in float32; PyTorch's own fastest, "
        "400 GFLOP/s in float32. "
    ) in text
    assert figures["timm_peaks"] == {"float32": 4e11}
    assert ", 1 thread; " in text
    assert figures["config"]["batch_sizes"] == [8]
    works = [row["task"]["work"] for row in figures["rows"]]
    assert works == ["inference", "training", "latency"]
    assert [row["task"]["batch_size"] for row in figures["rows"]] == [8, 8, 1]
    assert figures["rows"][1]["speeds"]["timm compiled"] == {"rounds": [20.0] * 3}
    assert list(figures["rows"][2]["speeds"]) == [
        "ours",
        "ours, one thread per operation",
        "timm eager",
    ]
    assert "tensorflow" in figures["machine"]["packages"]


WHICH_FITS = ("models=cait_xxs24_224", "work=training", "precisions=float32", "timm=false",
              "remat=[false,true]", "threads=1")  # fmt: skip


def test_the_batch_that_fits(tmp_path, monkeypatch, stand_in):
    text, figures = run(tmp_path, monkeypatch, *WHICH_FITS, "batch_sizes=[16,1,4]", "whole=true")
    sizes = [row["task"]["batch_size"] for row in figures["rows"]]
    assert sizes == [1, 4, 16] * 2
    assert all(row["task"]["whole"] for row in figures["rows"])
    assert "| training cait_xxs24_224, float32 | 100 | 70 | 150 | 230 | 390 | 790 |" in text
    assert "| training cait_xxs24_224 with remat, float32 | 10 | 700 | 1500 |" in text


def test_one_batch_size_extrapolates_nothing(tmp_path, monkeypatch, stand_in):
    text, _ = run(tmp_path, monkeypatch, *WHICH_FITS)
    assert "Largest training batch" not in text


def test_a_batch_that_does_not_fit_ends_its_series(tmp_path, monkeypatch, stand_in):
    monkeypatch.setattr(StandIn, "most", 4)
    text, figures = run(tmp_path, monkeypatch, *WHICH_FITS, "batch_sizes=[1,4,8,9]")
    assert [row["task"]["batch_size"] for row in figures["rows"]] == [1, 4] * 2
    assert "batch 8: gone: got a process that the system ended" in text
    assert "training cait_xxs24_224, float32, batch 9: a smaller batch did not fit\n" in text


@pytest.mark.slow
def test_a_model_of_ours_alone(tmp_path, monkeypatch):
    """The command measures a real model in a worker process."""
    text, figures = run(
        tmp_path, monkeypatch, "models=cait_nano_32", "work=inference", "precisions=float32",
        "timm=false", "batch_sizes=2", "warmup=0", "repetitions=1", "rounds=2", "threads=1",
    )  # fmt: skip
    [row] = figures["rows"]
    assert len(row["speeds"]["ours"]["rounds"]) == 2
    assert min(row["speeds"]["ours"]["rounds"]) > 0
    memory = row["memory"]["ours"]
    assert 1e8 < memory["libraries"] < memory["calls"] <= memory["life"]
    assert 0 < row["share"] < 1
    assert "| — | — | — |" in text


@pytest.mark.needs("timm")
def test_the_real_timm():
    task = Task("training", "cait_xxs24_224", "mixed_bfloat16", 2, 1, image_size=32)
    worker = Worker(TIMM, task)
    try:
        worker.start()
        assert worker.measure(0) > 0
    finally:
        worker.stop()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["work=train"], "work: got train, .*\n  did you mean training"),
        (["work=[]"], "work: got nothing, expected one or more values"),
        (["precisions=bfloat16"], "did you mean mixed_bfloat16"),
        (["batch_sizes=[4,0]"], "batch_sizes: got 0, expected a number in"),
        (["rounds=0"], "rounds: got 0"),
        (["remat=[]"], "remat: got nothing"),
        (["threads=1000"], "threads: got 1000"),
        (["models=cait_xxs"], "model: got cait_xxs"),
        (["out=/dev/null/out"], "out: got /dev/null/out"),
    ],
)
def test_a_wrong_key_raises_before_any_worker_starts(monkeypatch, words, message):
    monkeypatch.setattr(comparison, "Worker", None)
    words = ["models=cait_nano_32", "timm=false", *words]
    monkeypatch.setattr(sys, "argv", ["benchmark", "model", *words])
    with pytest.raises(SystemExit, match=message):
        command.main()


def test_help_shows_the_keys(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["benchmark", "model", "--help"])
    command.main()
    assert "\n  batch_sizes=[16]   (list of integer)\n" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["benchmark", "--help"])
    command.main()
    assert "input|model|gpu|start" in capsys.readouterr().out


def test_each_row_has_the_asked_size():
    (one,) = model.ModelBenchmark(
        models=["cait_nano_32"], work=["inference"], precisions=["float32"], image_size=[32, 48],
        batch_sizes=[8],
    ).tasks()  # fmt: skip
    assert one.size == (32, 48)
    hash(one)  # rows are looked up by their task
