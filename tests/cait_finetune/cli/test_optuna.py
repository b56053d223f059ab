"""Trials of Hydra's Optuna sweeper: our defaults, scores, failures and results."""

from __future__ import annotations

import json
import sys

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore

from cait_finetune import config as configuration
from cait_finetune.cli import hydra_app as cli
from cait_finetune.commands import train
from cait_finetune.errors import UserError
from cait_finetune.tasks import task_of
from tests.cait_finetune.stand_ins import CONF
from tests.quick_runs import no_figures

pytest.importorskip("optuna", reason="pip install 'cait-finetune[sweep]'")

RATES = "optimizer.base_lr=tag(log, interval(1e-4, 1e-1))"


@pytest.fixture
def study(monkeypatch, capsys, caplog, tmp_path):
    """Return a function that runs a study: exit status, stderr with log, and result."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setattr(cli, "_SHOW_TRACEBACKS", False)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["cait_finetune", "-m", "hydra/sweeper=optuna",
                                          "hydra.sweep.dir=sweep", *words])  # fmt: skip
        status, message = 0, ""
        try:
            train.main()
        except SystemExit as exit_:
            status, message = 1, str(exit_.code)
        path = tmp_path / "sweep" / "optimization_results.yaml"
        result = yaml.safe_load(path.read_text()) if path.exists() else None
        return status, capsys.readouterr().err + caplog.text + message, result

    return run


@pytest.fixture
def scores(monkeypatch):
    """Replace `finetune` with a stub; return the lists of its scores and configurations.

    Each call takes the next score from the list, and raises it if it is an exception.
    """
    import cait_finetune.workflow.finetune as workflow

    left, seen = [], []

    def finetune(config, directory):
        seen.append(config)
        score = left.pop(0)
        if isinstance(score, Exception):
            raise score
        return {f"validation_{task_of(config.task).judged_by(config.dataset)}": score}

    monkeypatch.setattr(workflow, "finetune", finetune)
    return left, seen


@pytest.mark.slow
def test_trials_of_real_training(study, tmp_path):
    """Each trial trains a linear probe on a random backbone. The trials share one feature cache."""
    with no_figures():
        status, _, result = study(
            RATES, "hydra.sweeper.n_trials=2", "tuning=linear_probe", f"tuning.cache_dir={tmp_path}/cache",
            "model.image_size=8", "train.epochs=1", "export=none", "hydra.sweeper.sampler.seed=2",
        )  # fmt: skip
    assert status == 0
    runs = sorted(tmp_path.glob("sweep/*/result.json"))
    found = [json.loads(path.read_text())["validation_top1"] for path in runs]
    assert len(found) == 2
    assert result["best_value"] == max(found)
    best = runs[found.index(max(found))].parent
    rate = result["best_params"]["optimizer.base_lr"]
    assert yaml.safe_load((best / "config.yaml").read_text())["optimizer"]["base_lr"] == rate
    assert f"optimizer.base_lr={rate}" in (best / "command.txt").read_text()
    summary = json.loads((tmp_path / "sweep" / "summary.json").read_text())
    assert len(summary["runs"]) == 2


@pytest.mark.slow
def test_the_validation_metric_is_to_be_high(study, scores):
    left, seen = scores
    left += [0.2, 0.9, 0.5]
    status, _, result = study(RATES, "hydra.sweeper.n_trials=3", "dataset.metric=mean_per_class")
    assert (status, result["best_value"]) == (0, 0.9)
    assert result["best_params"] == {"optimizer.base_lr": seen[1].optimizer.base_lr}


def test_a_study_that_searches_nothing_is_refused(study, scores, tmp_path):
    status, err, _ = study("train.epochs=1")
    assert status == 1
    assert "hydra/sweeper: got optuna with nothing to search" in err
    assert scores[1] == []
    assert not list(tmp_path.iterdir())


def test_twenty_trials_one_after_the_other():
    configuration.register()
    cli.register_study()
    with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
        hydra = compose("config", ["hydra/sweeper=optuna"], return_hydra_config=True).hydra
    assert (hydra.sweeper.n_trials, hydra.sweeper.n_jobs) == (20, 1)


@pytest.mark.slow
def test_a_trial_that_fails_does_not_end_the_study(study, scores):
    scores[0].extend([UserError("train.precision: got 10 steps in a row"), 0.5])
    status, err, result = study(RATES, "hydra.sweeper.n_trials=2")
    assert (status, result["best_value"]) == (0, 0.5)
    assert "train.precision: got 10 steps in a row" in err


@pytest.mark.slow
def test_a_study_whose_trials_all_fail(study, scores):
    scores[0].extend([UserError("first: got"), UserError("second: got")])
    status, err, result = study(RATES, "hydra.sweeper.n_trials=2")
    assert (status, result) == (1, None)
    assert "first: got" in err
    assert "cait_finetune: hydra/sweeper: got no finished trial" in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("group", "option", "extra"),
    [("sweeper", "optuna", "sweep"), ("launcher", "submitit_slurm", "cluster")],
)
def test_without_the_extra_it_is_named(study, monkeypatch, group, option, extra):
    """The test removes the option from Hydra's store, as if its package were not installed."""
    monkeypatch.setattr(cli, "register_study", lambda: None)
    stored = ConfigStore.instance().repo["hydra"][group]
    for name in list(stored):
        if name.startswith(option.partition("_")[0]):
            monkeypatch.delitem(stored, name)
    status, err, _ = study(f"hydra/{group}={option}", "seed=1,2")
    assert status == 1
    assert f"cait_finetune: hydra/{group}: got {option}, expected one of basic" in err
    assert f"pip install 'cait-finetune[{extra}]'" in err
