import json
import sys

import numpy as np
import pytest
from PIL import Image

from cait_finetune.benchmark import comparison, worker
from cait_finetune.benchmark.input import write_pictures
from cait_finetune.benchmark.task import AUGMENTATIONS
from cait_finetune.commands import benchmark as command

SMALL = ["count=12", "side=48", "size=32", "batch_size=4", "batches=2", "warmup=1", "rounds=2"]


def test_pictures_are_as_large_as_photographs(tmp_path):
    paths = write_pictures(tmp_path, 6, 256)
    assert len({path.parent for path in paths}) == 4
    for path in paths:
        image = Image.open(path)
        assert min(image.size) == 256
        assert image.mode == "RGB"
        assert np.asarray(image).std() > 20
        # The bounds contain the file sizes of tf_flowers at this image size.
        assert 8_000 < path.stat().st_size < 80_000


class InThisProcess(worker.Worker):
    """Worker without a process, whose imports take longer than its work."""

    def __init__(self, module, task):
        self._module, self._task = module, task

    def ask(self, function, *arguments):
        return function(*arguments)

    def stop(self):
        pass


@pytest.mark.slow
def test_a_table_and_the_figures_behind_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(comparison, "Worker", InThisProcess)
    out = tmp_path / "out"
    words = ["benchmark", "input", *SMALL, "timm=false", f"out={out}"]
    monkeypatch.setattr(sys, "argv", words)
    command.main()
    text = (out / "input.md").read_text()
    assert text in capsys.readouterr().out
    figures = json.loads((out / "input.json").read_text())
    assert [row["task"]["augmentation"] for row in figures["rows"]] == list(AUGMENTATIONS)
    for row in figures["rows"]:
        assert min(row["speeds"]["ours"]["rounds"]) > 0
        assert len(row["speeds"]["ours"]["rounds"]) == 2
        assert list(row["speeds"]) == ["ours"]
        assert f"| {row['task']['augmentation']} | " in text


class StandIn:
    """Worker without a process. In every round, ours is 1.5 times as fast as timm's."""

    def __init__(self, module, task):
        self.fast = module.endswith("tensorflow")

    def measure(self, warmup):
        return 30.0 if self.fast else 20.0

    def memory(self):
        return comparison.Memory(0, 0, 0)

    def start(self):
        pass

    stop = start


def test_the_ratio_stands_in_the_table(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(comparison, "Worker", StandIn)
    monkeypatch.setattr("cait_finetune.benchmark.input.check_timm", lambda *_: None)
    monkeypatch.setattr(sys, "argv", ["benchmark", "input", *SMALL, f"out={tmp_path}"])
    command.main()
    assert "| evaluation | 30 (30–30) | 20 (20–20) | 1.50× |" in capsys.readouterr().out


def test_timm_that_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    monkeypatch.setattr(sys, "argv", ["benchmark", "input", *SMALL])
    with pytest.raises(SystemExit, match=r"no timm.*\n.*pip install 'cait-finetune\[benchmark\]'"):
        command.main()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "benchmark: got nothing, expected one of input, model, gpu, start"),
        (["imput"], "did you mean input"),
        (["input", "size=large"], "size: got 'large', expected a whole number"),
        (["input", "sizes=3"], "did you mean size"),
    ],
)
def test_a_mistake_is_one_message(monkeypatch, words, message):
    monkeypatch.setattr(sys, "argv", ["benchmark", *words])
    with pytest.raises(SystemExit, match=message):
        command.main()


@pytest.mark.needs("timm")
def test_the_real_loader_of_timm(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmark", "input", *SMALL, f"out={tmp_path}"])
    command.main()
    rows = json.loads((tmp_path / "input.json").read_text())["rows"]
    assert all(min(row["speeds"]["timm"]["rounds"]) > 0 for row in rows)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("rounds=0", r"rounds: got 0, expected a number in \[1"),
        ("count=13", "count: got 13, expected a multiple of batch_size=4"),
    ],
)
def test_a_wrong_count_is_a_mistake(word, message, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmark", "input", *SMALL, word])
    with pytest.raises(SystemExit, match=message):
        command.main()
