"""The summary table of several runs."""

from __future__ import annotations

import json

import pytest
import yaml
from omegaconf import OmegaConf
from rich.console import Console

from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.multirun import MultirunSummary, summarise


def write(root, name, fold, validation, test, metric="top1"):
    run = root / name
    (run / "checkpoints").mkdir(parents=True)
    config = {"seed": 0, "dataset": {"fold": fold, "name": "folder", "splits": {"shares": [0.8]}}}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    if test is not None:
        result = {"metric": metric, f"validation_{metric}": validation, f"test_{metric}": test}
        (run / "result.json").write_text(json.dumps(result))


@pytest.fixture
def console(tmp_path):
    return Console(width=100, file=open(tmp_path / "said", "w", encoding="utf-8"))


def test_the_mean_over_folds_has_an_interval(tmp_path, console):
    root = tmp_path / "sweep"
    for number, test in enumerate((0.8, 0.9, 1.0, 0.7, 0.6, 0.8, 0.8, 0.8, 0.8, 0.8, 0.8)):
        write(root, str(number), number, test - 0.1, test)
    path = summarise(root, console)
    summary = json.loads(path.read_text())
    assert [row["dataset.fold"] for row in summary["runs"]] == list(range(11))  # sorted as numbers
    assert set(summary["runs"][0]) == {
        "directory",
        "dataset.fold",
        "validation_top1",
        "test_top1",
    }
    (group,) = summary["groups"]  # the fold is a draw, no setting
    metrics = group["test_top1"]
    assert metrics["mean"] == pytest.approx(8.8 / 11)
    assert (metrics["low"], metrics["high"], metrics["runs"]) == (0.6, 1.0, 11)
    assert metrics["deviation"] == pytest.approx(0.1)
    assert metrics["half_width_95"] == pytest.approx(2.228 * 0.1 / 11**0.5, rel=1e-3)
    console.file.flush()
    said = (tmp_path / "said").read_text()
    assert "80.00% ± 6.72" in said
    assert "dataset.fold" in said


def test_a_run_without_a_result_is_left_out(tmp_path, console):
    write(tmp_path / "sweep", "0", 0, 0.5, 0.6)
    write(tmp_path / "sweep", "1", 1, None, None)
    summary = json.loads(summarise(tmp_path / "sweep", console).read_text())
    (group,) = summary["groups"]
    assert len(summary["runs"]) == group["test_top1"]["runs"] == 1
    assert (group["test_top1"]["deviation"], group["test_top1"]["half_width_95"]) == (0, None)
    console.file.flush()
    assert "1  no epoch finished, no result.json" in (tmp_path / "said").read_text()


def test_runs_that_cannot_be_compared_have_no_summary(tmp_path, capsys):
    write(tmp_path / "sweep", "0", 0, 0.5, 0.6)
    write(tmp_path / "sweep", "1", 1, 0.5, 0.6, metric="mean_per_class")
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path / "sweep")}}})
    MultirunSummary().on_multirun_end(config)
    assert "runs: got runs judged by mean_per_class and by top1" in capsys.readouterr().out
    assert not list(tmp_path.glob("sweep/*.json"))


def test_without_results_summarise_returns_none(tmp_path, console):
    write(tmp_path / "sweep", "0", 0, None, None)
    assert summarise(tmp_path / "sweep", console) is None
    assert not list(tmp_path.glob("sweep/*.json"))


def test_failures_of_an_earlier_command_do_not_count(tmp_path, capsys):
    root = tmp_path / "sweep"
    write(root, "0", 0, 0.5, 0.6)
    earlier, finished = root / "1" / "failure.txt", root / "0" / "failure.txt"
    earlier.parent.mkdir()
    earlier.write_text("run 1: an earlier failure")
    choices = {"hydra/sweeper": "basic"}
    config = OmegaConf.create(
        {"hydra": {"sweep": {"dir": str(root)}, "runtime": {"choices": choices}}}
    )
    callback = MultirunSummary()
    callback.on_multirun_start(config)
    callback.on_multirun_end(config)
    finished.write_text("run 0: hydra.sweep.dir: got a finished run")
    RunDirectory(root / "0").mark_finished()
    finished.write_text("run 0: hydra.sweep.dir: got a finished run")
    with pytest.raises(SystemExit, match=r"failed:\nrun 0: hydra\.sweep\.dir: got a finished run$"):
        callback.on_multirun_end(config)
    assert earlier.exists()
    assert not finished.exists()


def test_runs_of_an_earlier_command_are_counted(tmp_path, console):
    root = tmp_path / "sweep"
    write(root, "0", 0, 0.5, 0.6)
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(root)}}})
    callback = MultirunSummary()
    callback.on_multirun_start(config)
    for number in (1, 2):
        write(root, str(number), number, 0.5, 0.6)
    summarise(root, console, callback._before)
    console.file.flush()
    assert "1 of these 3 are of an earlier command" in (tmp_path / "said").read_text()


def test_a_trial_that_was_drawn_twice_counts_once(tmp_path, console):
    for number, test in enumerate((0.8, 0.8, 0.6)):
        write(tmp_path / "sweep", str(number), number // 2, test, test)
    summary = json.loads(summarise(tmp_path / "sweep", console).read_text())
    (group,) = summary["groups"]
    metrics = group["test_top1"]
    assert (metrics["runs"], metrics["draws"], metrics["mean"]) == (3, 2, pytest.approx(0.7))
    assert metrics["half_width_95"] == pytest.approx(12.706 * 0.1, rel=1e-3)
    console.file.flush()
    said = " ".join((tmp_path / "said").read_text().split())
    assert "have equal settings and an equal draw" in said


def test_the_best_run_of_a_changed_recipe_is_repeated_from_its_own_file(tmp_path, console):
    root = tmp_path / "sweep"
    for number in range(2):
        write(root, str(number), number, 0.5, 0.6)
        (root / str(number) / "command.txt").write_text("python -m cait_finetune -cn mine seed=0")
    summarise(root, console)
    console.file.flush()
    said = "".join((tmp_path / "said").read_text().split("\n"))
    assert f"python -m cait_finetune -cd {root}/0 -cn config" in said.replace("        ", "")


def test_runs_in_folders_of_a_sweep_have_their_own_names(tmp_path, console):
    for number, name in enumerate(("a/0", "b/0")):
        write(tmp_path / "sweep", name, number, 0.5, 0.6)
    summarise(tmp_path / "sweep", console)
    console.file.flush()
    said = (tmp_path / "said").read_text()
    assert "│ a/0 " in said
    assert "│ b/0 " in said
