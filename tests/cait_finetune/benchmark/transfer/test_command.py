import json
import sys

import pytest
from PIL import Image

from cait_finetune.benchmark.transfer import command
from cait_finetune.commands import benchmark as main
from tests.cait_finetune.benchmark.transfer import stand_ins

QUICK = ("seeds=2", "shares=[1,0.05]", "methods=[from scratch,full]", "epochs=2")


@pytest.fixture
def benchmark(tmp_path, monkeypatch):
    """Runs the command with stand-ins; returns the cells that it made."""
    made = []

    def run_all(cells, processes):
        made[:] = cells
        for cell in reversed(cells):  # they come to their end in any order
            yield cell, stand_ins.run(cell)

    monkeypatch.setattr(command, "run_all", run_all)

    def run(*words):
        monkeypatch.setattr(
            sys, "argv", ["benchmark", "transfer", *QUICK, f"out={tmp_path}", *words]
        )
        main.main()
        return made

    return run


def test_a_table_a_picture_and_every_run(benchmark, tmp_path, capsys):
    cells = benchmark()
    assert len(cells) == 8
    assert {(cell.share, cell.steps_per_epoch) for cell in cells} == {(0.05, 10), (1.0, 40)}
    text = (tmp_path / "transfer.md").read_text()
    assert text in capsys.readouterr().out
    assert "mean and range of 2 seeds" in text
    assert "| from scratch | 31.0 (30.5–31.5) | 40.5 (40.0–41.0) |" in text
    assert "| *full − from scratch* | +30.0 (+30.0 to +30.0) | +30.0 (+30.0 to +30.0) |" in text
    figures = json.loads((tmp_path / "transfer.json").read_text())
    assert len(figures["runs"]) == 8
    assert figures["runs"][0]["command"].startswith("dataset=digits model=cait_nano_32 ")
    assert Image.open(tmp_path / "transfer.png").size[0] > 500


def test_what_is_finished_is_not_made_again(benchmark, tmp_path):
    benchmark("seeds=1")
    assert {cell.seed for cell in benchmark()} == {1}
    assert benchmark() == []
    assert "mean and range of 2 seeds" in (tmp_path / "transfer.md").read_text()


def test_other_weights_make_all_of_them_again(benchmark, tmp_path, monkeypatch):
    benchmark()
    monkeypatch.setattr(command.models, "start_checksum", lambda name, weights: "longer")
    assert len(benchmark()) == 8
    assert benchmark() == []


def test_longer_is_longer(benchmark, tmp_path):
    cells = benchmark("methods=[from scratch,from scratch 3x]", "shares=[0.05]", "seeds=1")
    assert [cell.epochs for cell in cells] == [2, 6]
    assert "*from scratch 3x*: 6 passes" in (tmp_path / "transfer.md").read_text()


def test_it_writes_its_passage_of_a_page(benchmark, tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- transfer -->\n![it](it.png)\n<!-- /transfer -->\n")
    benchmark(f"readme={page}")
    assert "| full |" in page.read_text()
    assert Image.open(tmp_path / "it.png").size[0] > 500


def test_only_a_set_that_is_not_made_here_has_a_place(tmp_path):
    config = command.TransferConfig(data_dir=str(tmp_path))
    places = {
        name: command._cell(config, name, "full", 1.0, 0, 1).data_dir
        for name in ("digits", "flowers")
    }
    assert places == {"digits": None, "flowers": str(tmp_path)}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["methods=[ful]"], r"methods: got ful, expected one or more of .*\n  did you mean full"),
        (["methods=[]"], "methods: got nothing"),
        (["datasets=[digit]"], r"dataset: got digit, .*\n  did you mean digits"),
        (["datasets=[]"], "datasets: got 0, expected at least 1"),
        (["datasets=[imagenet_v2]"], "datasets: got imagenet_v2, expected sets to train on"),
        (["shares=[]"], "shares: got 0, expected at least 1"),
        (["shares=[5]"], "shares: got 5.0, expected shares above 0, at most 1"),
        (["seeds=0"], "seeds: got 0"),
        (["epochs=0"], "epochs: got 0"),
        (["least_steps=0"], "least_steps: got 0"),
        (["processes=99999"], "processes: got 99999"),
        (["model=cait_nano"], r"model: got cait_nano, .*\n  did you mean cait_nano_32"),
        (["readme=nowhere.md"], "readme: got nowhere.md, expected a Markdown file"),
        (["datasets=[flowers]", "data_dir=nowhere"], "nowhere"),
    ],
)
def test_a_mistake_is_said_before_the_first_run(benchmark, words, message):
    with pytest.raises(SystemExit, match=message):
        benchmark(*words)
