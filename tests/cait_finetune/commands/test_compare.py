"""The command `compare`, which prints the leaderboard."""

from __future__ import annotations

import csv
import json
import shlex
import sys

import pytest
import yaml
from omegaconf import OmegaConf
from PIL import Image

from cait_finetune.cli.compose import configure
from cait_finetune.commands import compare
from cait_finetune.runs.leaderboard import read_entry
from tests.cait_finetune.runs.test_leaderboard import write_run


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Return a function that runs the command: exit status, and output or message."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["compare", *map(str, words)])
        try:
            compare.main()
        except SystemExit as exit_:
            return 1, str(exit_.code)
        return 0, capsys.readouterr().out

    return run


@pytest.fixture
def sweep(tmp_path):
    root = tmp_path / "sweep"
    for number, (rate, score) in enumerate(((1e-5, 0.2), (1e-3, 0.9), (1e-4, 0.8))):
        write_run(root / str(number), score, f"optimizer.base_lr={rate}", optimizer__base_lr=rate)
    write_run(root / "3", None, "optimizer.base_lr=0.1", optimizer__base_lr=0.1)
    return root


def test_the_best_comes_first(command, sweep):
    status, said = command(sweep)
    assert status == 0
    rows = [line.split("│")[1:-1] for line in said.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["1", "0.001", "90.00%", "45.00%", "12"],
        ["2", "0.0001", "80.00%", "40.00%", "12"],
        ["0", "1e-05", "20.00%", "10.00%", "12"],
    ]
    assert "left out  3: no epoch finished, no result.json" in said
    assert f"best   {sweep / '1'}\npython -m cait_finetune optimizer.base_lr=0.001\n" in said


def test_the_command_writes_csv_markdown_and_a_figure(command, sweep):
    command(sweep)
    rows = list(csv.DictReader((sweep / "leaderboard.csv").read_text().splitlines()))
    assert [row["run"] for row in rows] == [str(sweep / name) for name in "1203"]
    assert [row["validation_top1"] for row in rows] == ["0.9", "0.8", "0.2", ""]
    assert rows[3]["missing"] == "no epoch finished, no result.json"
    assert rows[1]["optimizer.base_lr"] == "0.0001"
    assert rows[1]["command"] == "python -m cait_finetune optimizer.base_lr=0.0001"
    text = (sweep / "leaderboard.md").read_text()
    assert text.splitlines()[:3] == [
        "| run | optimizer.base_lr | validation_top1 | test_top1 | seconds |",
        "|---|---|---|---|---|",
        "| 1 | 0.001 | 90.00% | 45.00% | 12 |",
    ]
    assert "```bash\npython -m cait_finetune optimizer.base_lr=0.001\n```" in text
    assert "- 3: no epoch finished" in text
    assert Image.open(sweep / "leaderboard.png").size[0] > 300


@pytest.mark.slow
def test_several_directories_are_compared_where_one_stands(command, sweep, tmp_path):
    write_run(tmp_path / "outputs/a", 0.95, "optimizer.base_lr=0.01", optimizer__base_lr=0.01)
    status, said = command(f"{sweep}/*", "outputs")
    assert status == 0
    assert said.index("outputs/a") < said.index("sweep/1")
    assert (tmp_path / "leaderboard.csv").exists()
    assert command(f"runs=[{sweep}/0,outputs/a]") == command(f"{sweep}/0", "outputs/a")
    assert command("run=nowhere")[0] == 1
    command(sweep, "output=there")
    assert (tmp_path / "there/leaderboard.md").exists()


def test_x_plots_the_metric_by_one_key(command, tmp_path):
    for number, (rate, seed) in enumerate((rate, seed) for rate in (1e-4, 1e-3) for seed in (0, 1)):
        write_run(tmp_path / "sweep" / str(number), 0.5 + 20 * rate, f"optimizer.base_lr={rate} seed={seed}",
                  optimizer__base_lr=rate, seed=seed)  # fmt: skip
    status, said = command("sweep", "x=optimizer.base_lr")
    assert status == 0
    assert "test_top1 by optimizer.base_lr" in " ".join(said.split())
    assert "| all runs | 25.10% ± 0.00 | 26.00% ± 0.00 |" in (
        tmp_path / "sweep/leaderboard.md"
    ).read_text(encoding="utf-8")
    assert Image.open(tmp_path / "sweep/leaderboard.png").size[0] > 300
    status, said = command("sweep", "x=seed")
    assert status == 1
    assert said.startswith("cait_finetune compare: x: got seed, expected a key that differs")
    assert "did you mean x=optimizer.base_lr?" in command("sweep", "x=lr")[1]
    assert "No key differs: name a second run" in command("sweep/0", "x=lr")[1]
    assert "did you mean sweep?" in command("sweeps")[1]


def test_only_unfinished_runs(command, tmp_path):
    write_run(tmp_path / "sweep/0", None)
    status, said = command("sweep")
    assert status == 0
    assert "left out  0: no epoch finished" in said
    assert "best" not in said
    assert not (tmp_path / "sweep/leaderboard.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "runs: got nothing, expected directories of runs"),
        (("nowhere",), "runs: got nowhere, expected a directory that exists"),
        ((".",), "runs: got ., where there is no run, expected directories of runs"),
    ],
)
def test_a_mistake_is_one_message(command, words, message):
    status, said = command(*words)
    assert status == 1
    assert said.startswith(f"cait_finetune compare: {message}")


def test_an_output_that_cannot_be_written(command, sweep, tmp_path):
    (tmp_path / "file").touch()
    status, said = command(sweep, "output=file/there")
    assert status == 1
    assert "output: got file/there, expected a folder that can be written" in said


@pytest.mark.slow
def test_a_run_without_a_command_is_reproduced_from_its_configuration(tmp_path):
    words = ["dataset=flowers", "model=cait_s24_224", "seed=3", "augment.crop_scale=[0.5,1]",
             "dataset.data_dir='/a b'", "train.epochs=null", "train.steps=7"]  # fmt: skip
    config = OmegaConf.structured(configure(*words))
    run = write_run(tmp_path / "run", 0.5)
    (run / "config.yaml").write_text(yaml.safe_dump(OmegaConf.to_container(config)))
    again = shlex.split(compare.reproduce(read_entry(run)).command)[3:]
    assert "seed=3" in again
    assert "train.steps=7" in again
    assert OmegaConf.structured(configure(*again)) == config


@pytest.mark.parametrize("damage", [b"", b"hello", b"seed: \xff"])
def test_a_damaged_run_does_not_take_down_the_others(command, sweep, damage):
    (sweep / "1/config.yaml").write_bytes(damage)
    status, said = command(sweep)
    assert status == 0
    assert "left out  1: no epoch finished, a config.yaml that cannot be read" in said
    assert f"best   {sweep / '2'}" in said


def test_the_console_prints_brackets_unchanged(command, tmp_path):
    write_run(tmp_path / "[b]", 0.5, "'logger=[csv,wandb]'")
    write_run(tmp_path / "[red]", None, "seed=1")
    status, said = command(tmp_path)
    assert status == 0
    assert "python -m cait_finetune 'logger=[csv,wandb]'\n" in said
    assert "left out  [red]: " in said


@pytest.fixture
def of_a_recipe(tmp_path):
    """Return a run of a recipe with one epoch, and the recipe."""
    recipe = tmp_path / "mine/r.yaml"
    recipe.parent.mkdir()
    recipe.write_text("defaults: [config, _self_]\ntrain: {epochs: 1}\n")
    words = "seed=3 dataset=folder dataset.splits.seed=0"  # the default, written out
    config = configure(*words.split(), recipe="r", folder=recipe.parent)
    run = write_run(tmp_path / "run", 0.5, f"-cd {recipe.parent} -cn r {words}")
    (run / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.structured(config)))
    return run, recipe


@pytest.mark.slow
def test_the_best_run_of_an_edited_recipe_is_repeated_from_its_own_file(command, of_a_recipe):
    run, recipe = of_a_recipe
    own = f"python -m cait_finetune -cd {recipe.parent} -cn r seed=3 "
    assert own in command(run)[1]
    recipe.write_text("defaults: [config, _self_]\ntrain: {epochs: 3}\n")
    status, said = command(run)
    assert status == 0
    again = f"python -m cait_finetune -cd {run} -cn config"
    why = "from config.yaml, because the run's own command now sets train.epochs=3 (the run has 1)"
    assert f"again  {why}\n{again}\n" in said
    assert own not in said
    text = (run / "leaderboard.md").read_text(encoding="utf-8")
    assert f"- again {why}" in text
    assert again in text
    assert configure(recipe="config", folder=run).train.epochs == 1


def test_a_missing_recipe_makes_the_command_use_the_config_of_the_run(command, of_a_recipe):
    run, recipe = of_a_recipe
    recipe.unlink()
    said = command(run)[1]
    assert "because the run's own command cannot be composed now (" in said
    assert f"python -m cait_finetune -cd {run} -cn config" in said


@pytest.mark.slow
def test_relative_paths_of_the_best_command_begin_where_it_began(command, tmp_path):
    place, run = tmp_path / "place", tmp_path / "run"
    place.mkdir()
    config = configure("dataset=folder", f"dataset.data_dir={place}/images")
    write_run(run, 0.5, "dataset=folder dataset.data_dir=images")
    (run / "config.yaml").write_text(OmegaConf.to_yaml(OmegaConf.structured(config)))
    (run / "environment.json").write_text(json.dumps([{"working_directory": str(place)}]))
    said = command(run)[1]
    own = "python -m cait_finetune dataset=folder dataset.data_dir=images"
    assert f"begun  in {place}, where relative paths begin\n{own}\n" in said
    place.rmdir()
    assert own in command(run)[1]


def test_null_is_not_a_missing_key_in_the_table_of_all_keys(command, tmp_path):
    for number, settings in enumerate(({"train__new": None}, {"train__new": 1}, {})):
        write_run(tmp_path / "sweep" / str(number), 0.5 - number / 10, **settings)
    command("sweep")
    rows = list(csv.DictReader((tmp_path / "sweep/leaderboard.csv").read_text().splitlines()))
    assert [row["train.new"] for row in rows] == ["null", "1", ""]
