import json
import sys

import numpy as np
import pytest
from PIL import Image

from cait_finetune.benchmark import transfer, transfer_runs
from cait_finetune.benchmark.transfer import Panel, TransferBenchmark, draw
from cait_finetune.commands import benchmark as command
from tests.cait_finetune.benchmark.transfer_stand_ins import trained

QUICK = ("seeds=2", "shares=[1,0.05]", "methods=[from scratch,full]", "epochs=2")


@pytest.fixture
def benchmark(tmp_path, monkeypatch):
    """Return a function that runs the command with stand-ins and returns the command's runs."""
    made = []

    def execute(runs, processes):
        made[:] = runs
        for run in reversed(runs):  # runs finish in any order
            yield run, trained(run)

    monkeypatch.setattr(transfer, "execute", execute)

    def run(*words):
        monkeypatch.setattr(
            sys, "argv", ["benchmark", "transfer", *QUICK, f"out={tmp_path}", *words]
        )
        command.main()
        return made

    return run


def test_a_table_a_picture_and_every_run(benchmark, tmp_path, capsys):
    runs = benchmark()
    assert len(runs) == 8
    assert {(run.share, run.steps_per_epoch) for run in runs} == {(0.05, 10), (1.0, 40)}
    text = (tmp_path / "transfer.md").read_text()
    assert text in capsys.readouterr().out
    assert "mean and range of 2 seeds" in text
    assert "| from scratch | 31.0 (30.5–31.5) | 40.5 (40.0–41.0) |" in text
    assert "| *full − from scratch* | +30.0 (+30.0 to +30.0) | +30.0 (+30.0 to +30.0) |" in text
    figures = json.loads((tmp_path / "transfer.json").read_text())
    assert len(figures["runs"]) == 8
    assert figures["runs"][0]["command"].startswith("dataset=digits model=cait_nano_32 ")
    assert Image.open(tmp_path / "transfer.png").size[0] > 500


@pytest.mark.slow
def test_what_is_finished_is_not_made_again(benchmark, tmp_path):
    benchmark("seeds=1")
    assert {run.seed for run in benchmark()} == {1}
    assert benchmark() == []
    assert "mean and range of 2 seeds" in (tmp_path / "transfer.md").read_text()


@pytest.mark.slow
def test_other_weights_make_all_of_them_again(benchmark, tmp_path, monkeypatch):
    benchmark()
    monkeypatch.setattr(transfer_runs.models, "start_checksum", lambda name, weights: "longer")
    assert len(benchmark()) == 8
    assert benchmark() == []


def test_longer_is_longer(benchmark, tmp_path):
    runs = benchmark("methods=[from scratch,from scratch 3x]", "shares=[0.05]", "seeds=1")
    assert [run.epochs for run in runs] == [2, 6]
    assert "*from scratch 3x*: 6 passes" in (tmp_path / "transfer.md").read_text()


def test_only_a_set_that_is_not_made_here_has_a_place(tmp_path):
    benchmark = TransferBenchmark(data_dir=str(tmp_path))
    places = {name: benchmark.run(name, "full").data_dir for name in ("digits", "flowers")}
    assert places == {"digits": None, "flowers": str(tmp_path)}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["methods=[ful]"], r"methods: got ful, expected one or more of .*\n  did you mean full"),
        (["methods=[]"], "methods: got nothing, expected one or more values"),
        (["datasets=[digit]"], r"dataset: got digit, .*\n  did you mean digits"),
        (["datasets=[]"], "datasets: got nothing"),
        (["datasets=[imagenet_v2]"], "datasets: got imagenet_v2, expected sets to train on"),
        (["shares=[]"], "shares: got nothing"),
        (["shares=[5]"], "shares: got 5.0, expected shares above 0, at most 1"),
        (["seeds=0"], "seeds: got 0"),
        (["epochs=0"], "epochs: got 0"),
        (["least_steps=0"], "least_steps: got 0"),
        (["processes=99999"], "processes: got 99999"),
        (["model=cait_nano"], r"model: got cait_nano, .*\n  did you mean cait_nano_32"),
        (["datasets=[flowers]", "data_dir=nowhere"], "nowhere"),
    ],
)
def test_a_mistake_is_said_before_the_first_run(benchmark, words, message):
    with pytest.raises(SystemExit, match=message):
        benchmark(*words)


TEST = {
    "from scratch": np.array([[20.0, 31.0], [80.0, 90.0]]),
    "LoRA": np.array([[50.0, 51.0], [91.0, 92.0]]),
    "full": np.array([[60.0, 61.0], [90.0, 89.0]]),
}
PANEL = Panel("digits", [0.01, 1.0], [10, 1257], TEST)


def test_mean_and_range_by_method_and_images():
    assert PANEL.table().splitlines() == [
        "**digits**",
        "",
        "|  | 1 % (10) | 100 % (1,257) |",
        "|---|---|---|",
        "| from scratch | 25.5 (20.0–31.0) | 85.0 (80.0–90.0) |",
        "| LoRA | 50.5 (50.0–51.0) | 91.5 (91.0–92.0) |",
        "| full | 60.5 (60.0–61.0) | 89.5 (89.0–90.0) |",
        "| *full − from scratch* | +35.0 (+30.0 to +40.0) | +4.5 (-1.0 to +10.0) |",
    ]


def test_no_gain_over_what_was_not_measured():
    one = Panel("digits", [0.01, 1.0], [10, 1257], {"full": TEST["full"]})
    assert "−" not in one.table()


def test_a_panel_for_each_data_set(tmp_path):
    draw([PANEL], tmp_path / "one.png")
    draw([PANEL, PANEL], tmp_path / "two.png")
    one, two = (Image.open(tmp_path / f"{name}.png").convert("RGB") for name in ("one", "two"))
    assert two.size[0] > 1.5 * one.size[0]
    assert two.size[1] == one.size[1]
    colours = {pixel for _, pixel in one.getcolors(1_000_000)}
    # The colours of two methods and of training from scratch.
    assert {(31, 119, 180), (255, 127, 14), (128, 128, 128)} <= colours


def test_a_gain_is_of_the_same_images_and_seed():
    test = {"full": np.array([[60.0, 70.0]]), "from scratch": np.array([[30.0, 45.0]])}
    panel = Panel("digits", [0.05], [60], test)
    assert "| *full − from scratch* | +27.5 (+25.0 to +30.0) |" in panel.table()
