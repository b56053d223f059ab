import io
import json
import sys

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from cait_finetune.benchmark import input as benchmark
from cait_finetune.benchmark.pictures import write_pictures
from cait_finetune.benchmark.rounds import Speeds
from cait_finetune.benchmark.timm_input import OPTIONS
from cait_finetune.commands import benchmark as command
from tests.alone import needs_timm

SMALL = ["count=12", "side=48", "size=32", "batch_size=4", "batches=2", "warmup=1", "rounds=2"]


def test_pictures_are_as_large_as_photographs(tmp_path):
    paths = write_pictures(tmp_path, 6, 256)
    assert len({path.parent for path in paths}) == 4
    for path in paths:
        image = Image.open(path)
        assert min(image.size) == 256
        assert image.mode == "RGB"
        assert np.asarray(image).std() > 20
        # tf_flowers at this size: 10 to 60 kB
        assert 8_000 < path.stat().st_size < 80_000


def test_timm_is_asked_for_the_same_rows():
    assert list(benchmark.ROWS) == list(OPTIONS)


def test_a_table_and_the_figures_behind_it(tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    words = ["benchmark", "input", *SMALL, "timm=false", f"out={out}"]
    monkeypatch.setattr(sys, "argv", words)
    command.main()
    text = (out / "input.md").read_text()
    assert text in capsys.readouterr().out
    figures = json.loads((out / "input.json").read_text())
    assert [row["name"] for row in figures["rows"]] == list(benchmark.ROWS)
    for row in figures["rows"]:
        assert len(row["ours"]["rounds"]) == 2
        assert min(row["ours"]["rounds"]) > 0
        assert row["timm"] is None
        assert f"| {row['name']} | " in text


def test_the_ratio_stands_in_the_table():
    row = benchmark.Row("evaluation", Speeds((20.0, 30.0)), Speeds((10.0, 20.0)))
    assert benchmark.table([row]).splitlines()[-1] == (
        "| evaluation | 25 (20–30) | 15 (10–20) | 1.75× |"
    )


def test_timm_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    from cait_finetune.benchmark import timm_input
    from cait_finetune.errors import UserError

    with pytest.raises(UserError, match=r"pip install 'cait-finetune\[benchmark\]'"):
        timm_input._begin("evaluation", str(tmp_path), 32, 4, 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "benchmark: got nothing, expected one of input, model, gpu, start, scale"),
        (["imput"], "did you mean input"),
        (["input", "size=large"], "size: got 'large', expected a value of type int"),
        (["input", "sizes=3"], "did you mean size"),
    ],
)
def test_a_mistake_is_one_message(monkeypatch, words, message):
    monkeypatch.setattr(sys, "argv", ["benchmark", *words])
    with pytest.raises(SystemExit, match=message):
        command.main()


@needs_timm
def test_the_real_loader_of_timm():
    config = benchmark.InputConfig(
        count=12, side=48, size=32, batch_size=4, batches=2, warmup=1, rounds=2
    )
    rows = benchmark.measure_input(config, Console(file=io.StringIO()))
    assert all(row.ratio > 0 for row in rows)


def test_nothing_to_measure_is_a_mistake(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmark", "input", "rounds=0"])
    with pytest.raises(SystemExit, match="rounds: got 0, expected at least 1"):
        command.main()
