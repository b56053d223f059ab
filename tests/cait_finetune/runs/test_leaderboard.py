"""Find runs, read them, and find the keys in which they differ."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

from cait_finetune.errors import UserError
from cait_finetune.runs.leaderboard import (
    differing,
    find_runs,
    judged_by,
    read_entry,
    runs_below,
)


def write_run(directory, score=None, command=None, metric="top1", **settings):
    """Write a run's directory as training leaves it. Without a score the run is interrupted."""
    (directory / "checkpoints").mkdir(parents=True)
    config = {"seed": 0, "traceback": False}
    for key, value in settings.items():
        group, _, leaf = key.partition("__")
        config.setdefault(group, {}).update({leaf: value}) if leaf else config.update({key: value})
    (directory / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    if command:
        (directory / "command.txt").write_text(f"python -m cait_finetune {command}\n")
    if score is not None:
        result = {"metric": metric, f"validation_{metric}": score, f"test_{metric}": score / 2,
                  "wall_seconds": 12.3}  # fmt: skip
        (directory / "result.json").write_text(json.dumps(result))
    return directory


def test_a_path_that_is_not_utf_8_is_refused(tmp_path):
    place = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    write_run(Path(place), 0.5)
    with pytest.raises(UserError, match=r"^runs: got '.*caf\\udce9', expected a path in UTF-8"):
        find_runs([place])


def test_runs_are_found_below_and_through_patterns(tmp_path):
    for name in ("sweep/2", "sweep/10", "outputs/a/b/c"):
        write_run(tmp_path / name, 0.5)
    # W&B's files inside a run are not a run. Neither is a configuration alone.
    (tmp_path / "sweep/2/wandb/files/checkpoints").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other/config.yaml").touch()
    assert [run.name for run in runs_below(tmp_path / "sweep")] == ["2", "10"]
    assert len(find_runs([str(tmp_path)])) == 3
    assert len(find_runs([f"{tmp_path}/sweep/*", f"{tmp_path}/sweep"])) == 2
    assert find_runs([f"{tmp_path}/sweep/2"]) == [tmp_path / "sweep/2"]


def test_a_run_that_several_paths_lead_to_is_found_once(tmp_path, monkeypatch):
    run = write_run(tmp_path / "run", 0.5)
    (tmp_path / "link").symlink_to(run)
    monkeypatch.chdir(tmp_path)
    assert find_runs(["run", str(run), "./link"]) == [Path("run")]


def test_a_run_whose_checkpoints_were_deleted_is_a_run(tmp_path):
    run = write_run(tmp_path / "run", 0.5)
    (run / "checkpoints").rmdir()
    assert runs_below(tmp_path) == [run]


@pytest.mark.parametrize(
    ("path", "message"),
    [("nowhere", "nowhere, expected a directory that exists"), ("", "where there is no run")],
)
def test_a_path_without_runs_raises_an_error(tmp_path, path, message):
    with pytest.raises(UserError, match=f"runs: got .*{message}"):
        find_runs([str(tmp_path / path)])


def test_a_finished_run_is_read(tmp_path):
    entry = read_entry(write_run(tmp_path / "run", 0.5, "seed=3", optimizer__base_lr=1e-3))
    assert entry.settings == {
        "seed": 0,
        "traceback": False,
        "optimizer.base_lr": 1e-3,
        "head.name": "linear",  # the run of a version without heads
        "head.pooling": "token",
    }
    assert (entry.command, entry.missing) == ("python -m cait_finetune seed=3", "")
    assert entry.score == 0.5


def test_a_command_that_was_damaged_is_unknown(tmp_path):
    assert read_entry(write_run(tmp_path / "run", 0.5, "'seed=3")).command is None


def test_a_score_that_is_no_number_is_the_worst(tmp_path):
    assert read_entry(write_run(tmp_path / "run", math.nan)).score == -math.inf


def test_an_unfinished_run_reports_its_epochs_and_best_score(tmp_path):
    run = write_run(tmp_path / "run", train__epochs=5)
    assert read_entry(run).missing == "no epoch finished, no result.json"
    epochs = [{"kind": "epoch", "epoch": n, "validation_top1": n / 10} for n in (2, 1, 2)]
    lines = [json.dumps(one) for one in ({"kind": "step", "step": 1}, *epochs)]
    (run / "metrics.jsonl").write_text("\n".join([*lines, '{"kind": "ep']))
    said = "2 of 5 epochs, validation_top1 20.00% so far, no result.json"
    assert read_entry(run).missing == said


@pytest.mark.parametrize("text", ["{", "- 1", "a: [1", "", "hello", "seed: ä"])
def test_damaged_files_are_named(tmp_path, text):
    run = write_run(tmp_path / "run", 0.5)
    (run / "config.yaml").write_text(text, encoding="latin-1")
    assert "a config.yaml that cannot be read" in read_entry(run).missing
    (run / "config.yaml").unlink()
    (run / "result.json").write_text("{")
    entry = read_entry(run)
    assert "no config.yaml, a result.json that cannot be read" in entry.missing
    assert entry.result is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "that cannot be read"), ("[]", "that cannot be read"), ("{}", "without scores"),
        ('{"metric": "top1", "validation_top1": 0.5}', "without scores"),
    ],
)  # fmt: skip
def test_an_unreadable_or_incomplete_result_is_reported(tmp_path, text, words):
    run = write_run(tmp_path / "run", 0.5)
    (run / "result.json").write_text(text)
    entry = read_entry(run)
    assert (entry.result, entry.missing) == (
        None, f"no epoch finished, a result.json {words}",
    )  # fmt: skip


def test_files_of_another_run_are_not_compared(tmp_path):
    run = write_run(tmp_path / "run", 0.5, train__epochs=5)
    (run / "identity.json").write_text(
        json.dumps({"run": "1", "settings": {"seed": 0, "train.epochs": 5}})
    )
    weights = run / "checkpoints/best.safetensors"
    save_file({"a": np.zeros(1)}, weights, {"run": "1"})
    assert read_entry(run).missing == ""
    (run / "config.yaml").write_text("seed: 0\ntrain: {epochs: 77}\n")
    entry = read_entry(run)
    assert (entry.result, entry.missing) == (
        None, "no epoch finished, a config.yaml that was edited since the run began",
    )  # fmt: skip
    (run / "config.yaml").write_text("seed: 0\ntrain: {epochs: 5}\n")
    save_file({"a": np.zeros(1)}, weights, {"run": "2"})
    assert read_entry(run).missing == "no epoch finished, best weights of another run"
    save_file({"a": np.zeros(1)}, weights, {"run": "1"})
    (run / "metrics.jsonl").write_text('{"kind": "run", "run": "2"}\n')
    foreign = "a metrics.jsonl that is damaged or of another run"
    assert read_entry(run).missing == f"{foreign}, {foreign}"


def test_metrics_that_cannot_be_read(tmp_path):
    run = write_run(tmp_path / "run")
    (run / "metrics.jsonl").write_text("{\n")
    assert (
        read_entry(run).missing
        == "a metrics.jsonl that is damaged or of another run, no result.json"
    )


def test_differing_lists_keys_with_several_values(tmp_path):
    entries = [
        read_entry(write_run(tmp_path / "a", 0.5, optimizer__base_lr=0.1, train__epochs=5)),
        read_entry(write_run(tmp_path / "b", 0.6, optimizer__base_lr=0.2, train__epochs=5)),
        # A run of another version: one key is missing and one is new. `traceback` never counts.
        read_entry(write_run(tmp_path / "c", 0.7, optimizer__base_lr=0.2, new=1, traceback=True)),
    ]
    assert differing(entries) == ["optimizer.base_lr"]


def test_runs_are_judged_alike(tmp_path):
    entries = [read_entry(write_run(tmp_path / "a", 0.5)),
               read_entry(write_run(tmp_path / "b", 0.5, metric="mean_per_class"))]  # fmt: skip
    assert judged_by(entries[1:]) == "mean_per_class"
    with pytest.raises(UserError, match="runs judged by mean_per_class and by top1"):
        judged_by(entries)


def test_computed_settings_are_compared_as_they_were_said(tmp_path):
    """Two folds of one configuration have different means, and are one group."""
    mean = {"model__in_channels": 1, "preprocessing__mean": [0.25]}
    directory = write_run(tmp_path / "run", 0.5, **mean)
    (directory / "identity.json").write_text('{"automatic": {"preprocessing.mean": null}}')
    assert read_entry(directory).settings["preprocessing.mean"] is None
    other = read_entry(write_run(tmp_path / "other", 0.5, **mean))
    assert other.settings["preprocessing.mean"] == [0.25]
