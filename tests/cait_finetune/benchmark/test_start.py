import json
import sys

import pytest

from cait_finetune.benchmark import start
from cait_finetune.commands import benchmark as command
from cait_finetune.errors import UserError

#: A command that writes half a line, waits, completes the line, and then keeps running.
RUN = """
import pathlib, sys, time
directory = pathlib.Path(sys.argv[-1].partition("=")[2])
directory.mkdir()
with open(directory / "metrics.jsonl", "w") as file:
    file.write("{")
    file.flush()
    time.sleep(0.5)
    file.write("}\\n")
    file.flush()
    time.sleep(600)
"""


@pytest.fixture
def stand_in(monkeypatch):
    """Return a function that replaces ``-m cait_finetune`` with a script.

    The function returns the list of the commands that were started.
    """
    commands, popen = [], start.subprocess.Popen

    def replace(script):
        def run(words, **options):
            commands.append(words)
            return popen([sys.executable, "-c", script, *words[3:]], **options)

        monkeypatch.setattr(start.subprocess, "Popen", run)
        return commands

    return replace


def test_first_step_measures_the_seconds_until_the_first_step(stand_in):
    commands = stand_in(RUN)
    assert 0.5 < start.first_step(["model=cait_nano_32"]) < 20
    assert commands[0][1:4] == ["-m", "cait_finetune", "model=cait_nano_32"]


def test_first_step_reports_the_output_of_a_failed_run(stand_in):
    stand_in("import sys; sys.exit('no disk')")
    with pytest.raises(UserError, match=r"dataset=x: got exit status 1 .*\nno disk"):
        start.first_step(["dataset=x"])


def test_short_run_runs_to_the_end_or_reports_the_failure(stand_in):
    commands = stand_in("pass")
    start.short_run(["model=cait_nano_32"])
    assert commands[0][3:5] == ["model=cait_nano_32", "debug=fast_dev_run"]
    stand_in("import sys; sys.exit('no disk')")
    with pytest.raises(UserError, match=r"dataset=x: got exit status 1 .*\nno disk"):
        start.short_run(["dataset=x"])


def test_a_table_and_the_figures_behind_it(tmp_path, monkeypatch, capsys):
    times, short = iter([4.0, 20.0, 30.0, 5.0]), []  # the models take turns
    monkeypatch.setattr(start, "first_step", lambda words: next(times))
    monkeypatch.setattr(start, "short_run", lambda words: short.append(words[1]))
    monkeypatch.setattr(sys, "argv", ["benchmark", "start", "runs=2", f"out={tmp_path}"])
    command.main()
    text = (tmp_path / "start.md").read_text()
    assert text in capsys.readouterr().out
    assert "| cait_nano_32 | 4.5 (4–5) |\n| cait_xxs24_224 | 25 (20–30) |" in text
    figures = json.loads((tmp_path / "start.json").read_text())
    assert figures["seconds"] == {"cait_nano_32": [4.0, 5.0], "cait_xxs24_224": [20.0, 30.0]}
    assert "model.weights=none" in figures["commands"]["cait_nano_32"]
    assert short == ["model=cait_nano_32", "model=cait_xxs24_224"]  # one untimed run per model


def test_the_command_is_one_that_a_run_takes():
    from cait_finetune.cli.compose import configure

    config = configure(*start.StartBenchmark(batch_size=4).command("cait_xxs24_224"))
    assert config.dataset.name == "digits"
    assert config.model.name == "cait_xxs24_224"
    assert config.train.batch_size == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["runs=0"], "runs: got 0"),
        (["batch_size=0"], "batch_size: got 0"),
        (["precision=float16"], "precision: got float16"),
        (["models=cait_nano"], "did you mean cait_nano_32"),
    ],
)
def test_a_wrong_key_raises_before_a_run_starts(monkeypatch, words, message):
    monkeypatch.setattr(start, "first_step", None)
    monkeypatch.setattr(sys, "argv", ["benchmark", "start", *words])
    with pytest.raises(SystemExit, match=message):
        command.main()


@pytest.mark.slow
def test_a_real_run():
    words = [*start.StartBenchmark(batch_size=8).command("cait_nano_32"), "model.image_size=16"]
    assert start.first_step(words) > 1
