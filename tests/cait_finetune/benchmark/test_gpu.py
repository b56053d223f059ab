import json
import subprocess
import sys
from types import SimpleNamespace

import pytest

from cait_finetune.benchmark import comparison, model
from cait_finetune.benchmark.comparison import OURS_JAX, TIMM
from cait_finetune.benchmark.roofline import model_flops
from cait_finetune.benchmark.worker import Memory
from cait_finetune.commands import benchmark as command
from cait_finetune.errors import UserError
from cait_tf.variants import VARIANTS
from tests.cait_finetune.benchmark.stand_ins import StandIn


class Card(StandIn):
    """GPU worker whose libraries take no GPU memory."""

    speeds = {OURS_JAX: 30.0, TIMM: 10.0}

    def memory(self):
        return Memory(0, 2_000_000_000, 2_000_000_000)


@pytest.fixture
def benchmark(tmp_path, monkeypatch):
    monkeypatch.setattr(comparison, "Worker", Card)
    monkeypatch.setattr(model, "check_models", lambda *_, **__: None)  # timm may be missing
    monkeypatch.setattr(
        model.subprocess, "run", lambda *_, **__: SimpleNamespace(stdout="Card A\nB\n")
    )

    def run(*words):
        words = ["models=[cait_xxs24_224,cait_s24_224]", "batch_sizes=[8,4]", "rounds=2", *words]
        monkeypatch.setattr(sys, "argv", ["benchmark", "gpu", *words, f"out={tmp_path}"])
        command.main()
        return (tmp_path / "gpu.md").read_text(), json.loads((tmp_path / "gpu.json").read_text())

    return run


def test_tables_with_a_batch_for_each_model(benchmark):
    text, figures = benchmark()
    share = 3 * 30 * model_flops(VARIANTS["cait_s24_224"]) / 1e12
    assert (
        "| training cait_s24_224, bfloat16 | 4 | 30 (30–30) | 10 (10–10) | 20 (20–20) | 1.50× | "
        f"{share:.0%} |"
    ) in text
    assert "| training cait_s24_224, bfloat16 | 4 | 2.00 | 2.00 | 2.00 | 1.00× |" in text
    assert "Ours under Keras' JAX backend. One Card A; jax " in text
    assert "PyTorch's own fastest" not in text  # on a GPU, both use one matrix library
    assert figures["machine"]["gpu"] == "Card A"
    assert [(row["task"]["model"], row["task"]["batch_size"]) for row in figures["rows"]] == [
        ("cait_xxs24_224", 8), ("cait_xxs24_224", 8), ("cait_s24_224", 4), ("cait_s24_224", 4),
    ]  # fmt: skip
    assert {row["task"]["device"] for row in figures["rows"]} == {"gpu"}


def test_training_with_and_without_remat(benchmark):
    text, figures = benchmark("models=[cait_xxs24_224]", "batch_sizes=[8]", "remat=[false,true]")
    assert "| training cait_xxs24_224 with remat, bfloat16 | 8 |" in text
    assert [(row["task"]["work"], row["task"]["remat"]) for row in figures["rows"]] == [
        ("inference", False), ("training", False), ("training", True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["work=latency"], "work: got latency"),
        (["precisions=half"], "precisions: got half"),
        (
            ["batch_sizes=[8]"],
            r"batch_sizes: got \[8\], expected one for each of the 2",
        ),
        (["batch_sizes=[8,0]"], r"batch_sizes: got 0"),
        (["rounds=0"], "rounds: got 0"),
        (["remat=[]"], "remat: got nothing"),
    ],
)
def test_a_wrong_key_raises_before_any_worker_starts(benchmark, words, message):
    with pytest.raises(SystemExit, match=message):
        benchmark(*words)


@pytest.mark.parametrize(
    "fault", [FileNotFoundError(), subprocess.CalledProcessError(9, "nvidia-smi")]
)
def test_a_machine_without_a_card(benchmark, monkeypatch, fault):
    def run(*_, **__):
        raise fault

    monkeypatch.setattr(model.subprocess, "run", run)
    with pytest.raises(SystemExit, match=r"got no GPU, expected at least one\n  .*benchmark model"):
        benchmark()


def test_jax_that_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(
        UserError, match=r"jax: got nothing, .*\n  Install it with pip install 'jax\[cuda13\]'"
    ):
        model.GpuBenchmark(timm=False).check()
