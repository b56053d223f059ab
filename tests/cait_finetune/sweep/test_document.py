"""The sweep file, and the command that the W&B agent builds from it."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
import yaml

from cait_finetune.commands.sweep import main, write_sweep
from cait_finetune.errors import UserError
from cait_finetune.sweep.document import LOGGER
from tests.cait_finetune.stand_ins import CONF

ROOT = CONF.parent


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def written(*words):
    path = write_sweep(list(words))[2]
    return yaml.safe_load(path.read_text())


def test_the_file_holds_what_wandb_asks_for():
    document = written("seed=5", "train.epochs=5,10", "sweep.project=mine", "sweep.entity=us")
    assert document["program"] == "cait_finetune"
    assert (document["project"], document["entity"]) == ("mine", "us")
    assert document["name"] == "digits cait_nano_32"
    assert document["method"] == "bayes"
    assert document["metric"] == {"name": "validation_top1", "goal": "maximize"}
    assert document["run_cap"] == 20
    assert document["early_terminate"] == {"type": "hyperband", "min_iter": 3, "eta": 3}
    assert document["parameters"] == {"train.epochs": {"values": [5, 10]}}
    assert document["command"][:4] == ["${env}", "${interpreter}", "-m", "cait_finetune"]
    assert document["command"][4:6] == ["seed=5", LOGGER]
    assert document["command"][-1] == "${args_no_hyphens}"


@pytest.mark.slow
def test_the_own_keys_change_the_file():
    document = written(
        "seed=1,2", "sweep.method=grid", "sweep.name=night", "sweep.metric=validation_loss",
        "sweep.count=3", "sweep.early_terminate=hyperband", "sweep.min_epochs=2", "sweep.eta=4",
        "sweep.out=there/s.yaml",
    )  # fmt: skip
    assert (document["method"], document["name"], document["run_cap"]) == ("grid", "night", 3)
    assert document["metric"] == {"name": "validation_loss", "goal": "minimize"}
    assert document["early_terminate"] == {"type": "hyperband", "min_iter": 2, "eta": 4}
    assert Path("there/s.yaml").exists()
    assert not Path("sweep.yaml").exists()


@pytest.mark.slow
def test_a_grid_is_made_whole():
    document = written("seed=range(3)", "train.epochs=1,2", "sweep.method=grid")
    assert not {"run_cap", "early_terminate"} & set(document)
    other = written("seed=1,2", "sweep.early_terminate=none", "sweep.out=other.yaml")
    assert "early_terminate" not in other


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "metric"),
    [
        (["average=ema"], "validation_ema_top1"),
        (["average=ema", "average.export=false"], "validation_top1"),
        (["dataset.metric=mean_per_class"], "validation_mean_per_class"),
        (["task=multi_label"], "validation_mean_average_precision"),
    ],
)
def test_the_metric_is_what_decides_the_best_epoch(words, metric):
    assert written(*words, "seed=1,2")["metric"]["name"] == metric


@pytest.mark.slow
def test_a_recipe_defines_the_varied_keys():
    document = written("-cn", "flowers_sweep", "train.label_smoothing=0.05")
    assert set(document["parameters"]) == {
        "optimizer.base_lr",
        "optimizer.layer_decay",
        "model.drop_path_rate",
    }
    assert document["command"][4:7] == ["-cn", "flowers_sweep", "train.label_smoothing=0.05"]


def test_a_recipe_of_ones_own(tmp_path):
    own = "defaults: [config, override dataset: flowers, _self_]\ntrain: {epochs: 3}\n"
    (tmp_path / "own.yaml").write_text(own)
    document = written("-m", "-cd", str(tmp_path), "--config-name=own", "seed=1,2")
    assert document["name"].startswith("tf_flowers")
    assert document["command"][4:8] == ["-cd", str(tmp_path), "-cn", "own"]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("sweep.metod=grid", "sweep.metod: got an unknown key"),
        ("sweep.method=gird", "sweep.method: got 'gird', expected one of bayes, random, grid"),
        ("sweep.early_terminate=soon", "sweep.early_terminate: got 'soon'"),
        ("sweep.count=0", "sweep.count: got 0"),
        ("sweep.count=many", "sweep.count: got 'many', expected a whole number"),
        ("sweep.min_epochs=0", "sweep.min_epochs: got 0"),
        ("sweep.eta=1", "sweep.eta: got 1"),
        ("sweep.metric=validation_top2", "sweep.metric: got 'validation_top2', expected one of"),
        ("seed=1,2,1", "seed: got 1,2,1, expected each choice once"),
        ("resume=run", "resume: got run, expected none in a sweep"),
        ("hydra.run.dir=run", "hydra.run.dir: got run, expected none in a sweep"),
        ("train.epoch=3", "train.epoch: got an unknown key"),
        ("-x", "-x: got an unknown option"),
        ("-cn", "-cn: got nothing"),
    ],
)
def test_a_mistake_is_one_message_and_no_file(word, message, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["sweep", "train.label_smoothing=0.0,0.1", word])
    with pytest.raises(SystemExit) as caught:
        main()
    assert str(caught.value).startswith(f"cait_finetune sweep: {message}")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["offline", "disabled"])
def test_an_offline_or_disabled_wandb_logger_is_refused(mode):
    with pytest.raises(UserError, match=f"wandb.mode: got {mode}, expected auto or online"):
        written("seed=1,2", "logger=wandb", f"logger.wandb.mode={mode}")


def test_a_grid_has_no_continuous_interval():
    with pytest.raises(UserError, match=r"sweep\.method: got grid with an interval of optimizer"):
        written("optimizer.base_lr=interval(0.1, 0.2)", "sweep.method=grid")


def test_a_file_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"sweep\.out: got file/s\.yaml, expected a file that can"):
        written("seed=1,2", "sweep.out=file/s.yaml")


@pytest.mark.slow
def test_without_a_login_the_file_stays(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    monkeypatch.setattr(sys, "argv", ["sweep", "seed=1,2", "sweep.start=true"])
    with pytest.raises(SystemExit) as caught:
        main()
    assert "sweep.start: got true, and no login to W&B" in str(caught.value)
    assert "wandb login, then wandb sweep sweep.yaml" in str(caught.value)
    assert "sweep  sweep.yaml: seed; bayes, 20 runs" in capsys.readouterr().out
    assert Path("sweep.yaml").exists()


@pytest.mark.slow
def test_wandbs_own_agent_runs_it(tmp_path, monkeypatch):
    """The agent's code starts a run of two steps with values in the service's format."""
    from wandb.wandb_agent import Agent

    document = written(
        "debug=fast_dev_run", "export=none", "model.image_size=8", "tuning=linear_probe",
        "optimizer.base_lr=tag(log, interval(1e-5, 1e-3))", "schedule=cosine,linear",
        "train.patience=null,3", "deterministic=true,false",
    )  # fmt: skip
    command = document["command"]
    if not (CONF / "logger").is_dir():
        command.remove(LOGGER)
    for name, value in {"WANDB_SWEEP_ID": "swp", "WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path),
                        "PYTHONPATH": str(ROOT)}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    for name in ("WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH"):  # the agent sets both in this process
        monkeypatch.setenv(name, "")
    agent = Agent(api=None, queue=None)
    agent._sweep_command = command
    values = {"optimizer.base_lr": 3.2e-5, "schedule": "linear", "train.patience": "null",
              "deterministic": False}  # fmt: skip
    answer = agent._process_command({
        "type": "run", "run_id": "r1", "program": document["program"],
        "args": {key: {"value": value} for key, value in values.items()},
    })  # fmt: skip
    assert "exception" not in answer, answer
    assert agent._run_processes["r1"].wait() == 0
    run = tmp_path / "multirun" / "swp" / "r1"
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["optimizer"]["base_lr"] == 3.2e-5
    assert config["schedule"]["name"] == "linear"
    assert config["train"]["patience"] is None
    assert json.loads((run / "result.json").read_text())["steps"] == 2
    assert "optimizer.base_lr=3.2e-05" in (run / "command.txt").read_text()


@pytest.mark.slow
def test_a_file_with_other_content_stays(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_sweep(["seed=1,2"])
    write_sweep(["seed=1,2"])  # the same again
    with pytest.raises(
        UserError, match=r"^sweep\.out: got sweep\.yaml, which exists with other content"
    ):
        write_sweep(["seed=1,2,3"])
    assert "- 3" not in Path("sweep.yaml").read_text(encoding="utf-8")
