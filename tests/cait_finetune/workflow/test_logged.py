"""The values that loggers receive, tested without a run."""

import csv
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from cait_finetune.config import TaskConfig
from cait_finetune.loggers.fan_out import Loggers
from cait_finetune.optim.parameters import only, parameter_table, write_csv
from cait_finetune.optim.phases import Phase
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.scores.metrics import MetricsLog
from cait_finetune.scores.predictions import Predictions
from cait_finetune.tasks import task_of
from cait_finetune.workflow.logged import conclude_loggers, logged
from tests.cait_finetune.loggers import wandb_files
from tests.cait_finetune.stand_ins import checked
from tests.cait_finetune.tiny import tiny_model

CLASSIFICATION = task_of(TaskConfig())
ALL = ("logger=[wandb,tensorboard,csv]", "logger.wandb.mode=offline")


@pytest.fixture(scope="module")
def phases():
    table = parameter_table(tiny_model(), "full", 0.5, 0.05)
    head = only(table, lambda row: row.group == 3)
    return [Phase("head", 0, 2, head), Phase("full", 2, 4, table)]


def prepared(root, phases, chief=True):
    """Return the attributes of a prepared run that its loggers read."""
    run = RunDirectory(root)
    if chief:
        root.mkdir(exist_ok=True)
        write_csv({phase.name: phase.table for phase in phases}, run.parameters)
    console = Console(file=io.StringIO())
    metrics = MetricsLog(run.metrics, chief)
    return SimpleNamespace(
        run=run,
        worker=SimpleNamespace(chief=chief, console=console),
        logbook=SimpleNamespace(metrics=metrics),
        plan=SimpleNamespace(phases=phases),
    )


def write_steps(metrics, *steps):
    for step in steps:
        metrics.write("step", step=step, epoch=1, learning_rate=0.1, loss=1 / step)


def rows(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_records_and_the_rate_of_each_group_go_to_all(tmp_path, phases):
    run = prepared(tmp_path / "run", phases)
    with logged(checked(*ALL), run):
        write_steps(run.logbook.metrics, 2, 3)
        run.logbook.metrics.write("epoch", epoch=1, step=3, validation_top1=0.5)
    head, full = rows(run.run.root / "steps.csv")
    rates = ("lr/group_00", "lr/group_01", "lr/group_02", "lr/group_03")
    assert [head[name] for name in rates] == ["", "", "", "0.1"]
    assert [float(full[name]) for name in rates] == [0.0125, 0.025, 0.05, 0.1]
    assert rows(run.run.root / "epochs.csv") == [
        {"epoch": "1", "step": "3", "validation_top1": "0.5"}
    ]
    table, second, third = wandb_files.history(run.run.root)
    assert table["parameters.nrows"] == sum(len(phase.table) for phase in phases)
    assert (second["lr/group_03"], "lr/group_02" in second) == (0.1, False)
    assert (third["lr/group_00"], third["validation_top1"]) == (0.0125, 0.5)
    (description,) = wandb_files.runs(run.run.root)
    config = {one.key: json.loads(one.value_json) for one in description.config.update}
    assert config["model"]["name"] == "cait_nano_32"
    assert list(run.run.tensorboard.glob("events*"))
    # loggers do not change metrics.jsonl
    assert run.logbook.metrics.read("step")[0] == {
        "kind": "step", "step": 2, "epoch": 1, "learning_rate": 0.1, "loss": 0.5
    }  # fmt: skip


@pytest.mark.slow
def test_a_run_that_goes_on_gives_what_it_knows_again(tmp_path, phases):
    run = prepared(tmp_path / "run", phases)
    with logged(checked(*ALL), run):
        write_steps(run.logbook.metrics, 1, 2)
        size = run.logbook.metrics.size
        write_steps(run.logbook.metrics, 3)
    again = prepared(tmp_path / "run", phases)
    again.logbook.metrics.cut(size)
    with logged(checked(*ALL, f"resume={run.run.root}"), again):
        write_steps(again.logbook.metrics, 3, 4)
    assert [row["step"] for row in rows(run.run.root / "steps.csv")] == ["1", "2", "3", "4"]
    losses = [row["loss"] for row in wandb_files.history(run.run.root) if "loss" in row]
    assert losses == [1, 1 / 2, 1 / 3, 1 / 4]
    assert len({one.run_id for one in wandb_files.runs(run.run.root)}) == 1


def test_only_the_chief_has_loggers(tmp_path, phases):
    run = prepared(tmp_path / "run", phases, chief=False)
    with logged(checked(*ALL), run) as loggers:
        write_steps(run.logbook.metrics, 1)
        conclude_loggers(loggers, CLASSIFICATION, run.run, {"test_top1": 0.5})
    assert not run.run.root.exists()


@pytest.fixture
def given(monkeypatch):
    """The arguments of each call of `Loggers.conclude`."""
    calls = []
    monkeypatch.setattr(Loggers, "conclude", lambda self, *values: calls.append(values))
    return calls


def test_at_the_end_there_are_the_pictures_and_the_model(tmp_path, given):
    run = RunDirectory(tmp_path)
    run.create()
    run.parts.mkdir()
    for path in (run.curves, run.best_checkpoint, run.parts / "mistakes.png"):
        path.touch()
    conclude_loggers(Loggers(), CLASSIFICATION, run, {"test_top1": 0.5})
    pictures = {"curves": run.curves, "mistakes": run.parts / "mistakes.png"}
    assert given == [({"test_top1": 0.5}, pictures, {"checkpoint": run.best_checkpoint}, [])]
    run.saved_model.mkdir()
    conclude_loggers(Loggers(), CLASSIFICATION, run, {})
    assert given[1][2] == {"checkpoint": run.best_checkpoint, "export": tmp_path / "export"}


def test_the_confusion_is_of_the_test_split(tmp_path, given):
    run = RunDirectory(tmp_path)
    logits = np.array([[2, 1], [0, 1], [3, 0]], "float32")
    names = ["cat", "dog"]
    Predictions(logits, np.array([0, 1, 1]), list("abc"), names).save(run.predictions_of("test"))
    conclude_loggers(Loggers(), CLASSIFICATION, run, {})
    several = np.ones((3, 2), "float32")
    Predictions(logits, several, list("abc"), names).save(run.predictions_of("test"))
    conclude_loggers(Loggers(), task_of(TaskConfig("multi_label")), run, {})
    assert [call[3] for call in given] == [[([0, 1, 1], [0, 1, 0], names, "")], []]


def test_wandb_gets_a_confusion_matrix_of_each_label(tmp_path):
    """The first image has no bar, and no image has a word."""
    run = prepared(tmp_path / "run", [])
    run.run.parameters.write_text("path\n")
    labels = np.zeros((3, 7), "float32")
    labels[[0, 1, 2, 1, 2], [0, 1, 1, 2, 4]] = 1
    logits = np.eye(7, dtype="float32")[[1, 1, 0]] + 2 * np.eye(7, dtype="float32")[[2, 2, 4]]
    names = ["sky=dark", "sky=light", "bar=a", "bar=b", "bar=c", "word=x", "word=y"]
    Predictions(logits, labels, list("abc"), names).save(run.run.predictions_of("test"))
    run.run.best_checkpoint.parent.mkdir()
    run.run.best_checkpoint.touch()
    with logged(checked("logger=wandb", "logger.wandb.mode=offline"), run) as loggers:
        conclude_loggers(loggers, task_of(TaskConfig("several")), run.run, {"test_top1": 0.5})
    assert wandb_files.exit_codes(run.run.root) == [0]
    charts = run.run.root.glob("wandb/*run-*/files/media/table/confusion_matrix/*.json")
    found = {}
    for path in charts:
        counts = {tuple(row[:2]): row[2] for row in json.loads(path.read_text())["data"]}
        found[path.name.partition("_table")[0]] = {key: n for key, n in counts.items() if n}
    assert found == {
        "sky": {("dark", "light"): 1, ("light", "light"): 1, ("light", "dark"): 1},
        "bar": {("a", "a"): 1, ("c", "c"): 1},
    }
