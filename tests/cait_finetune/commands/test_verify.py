"""The table of the command `verify`: its comparisons and its messages. No test trains a model."""

from __future__ import annotations

import functools
import json
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from cait_finetune.cli.compose import configure
from cait_finetune.commands import verify
from cait_finetune.errors import UserError

#: Composing takes a third of a second, and rows share configurations.
composed = functools.cache(verify._config)


def write_run(directory, weight=1.0, losses=(2.0, 1.0), average=0.5, slot=0.5):
    (directory / "checkpoints").mkdir(parents=True)
    arrays = {
        "model/a": np.array([0.5, weight], "float32"),
        "train/average/0": np.array([average], "float32"),
        "train/optimizer/a/m": np.array([slot], "float32"),
        "train/steps_tried": np.array(8),
    }
    save_file(arrays, directory / "checkpoints" / "state_00000008.safetensors")
    records = [{"kind": "step", "loss": loss} for loss in losses] + [{"kind": "epoch"}]
    (directory / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    (directory / "done").touch()


def test_the_largest_difference_of_weights_and_losses(tmp_path):
    row = tmp_path / "AdamW"
    write_run(row / "one device")
    write_run(row / "2 replicas", weight=1.25)
    write_run(row / "2 workers", losses=(2.0, 1.5))
    write_run(row / "resumed")
    write_run(row / "accumulated", weight=float("nan"))
    cells = verify._differences(tmp_path, "AdamW")
    assert cells == {"2 replicas": 0.25, "2 workers": 0.5, "resumed": 0.0, "accumulated": np.inf}


def test_slot_variables_count_for_resumed_runs_only(tmp_path):
    row = tmp_path / "AdamW"
    write_run(row / "one device")
    write_run(row / "2 replicas", average=1.0)
    write_run(row / "2 workers", slot=1.0)
    write_run(row / "resumed", slot=0.75)
    cells = verify._differences(tmp_path, "AdamW")
    assert cells == {"2 replicas": 0.5, "2 workers": 0.0, "resumed": 0.25}


def test_nan_counts_as_an_infinite_difference(tmp_path):
    row = tmp_path / "AdamW"
    write_run(row / "one device")
    write_run(row / "2 workers", losses=(2.0, float("nan")))
    write_run(row / "accumulated", average=float("nan"))
    assert verify._differences(tmp_path, "AdamW") == {"2 workers": np.inf, "accumulated": np.inf}


def test_failures_lists_differences_above_the_tolerance():
    good = {"a": {"2 replicas": 1e-6, "resumed": 0.0}}
    assert verify.failures(good) == []
    bad = {
        "a": {"2 replicas": 1e-4, "resumed": 1e-9, "2 workers": float("nan"), "accumulated": 0.0}
    }
    assert [line.partition(":")[0] for line in verify.failures(bad)] == [
        "a, 2 replicas", "a, resumed", "a, 2 workers",
    ]  # fmt: skip


def test_the_table_has_a_row_per_configuration_and_a_column_per_comparison():
    lines = verify.table({"a": {"2 replicas": 2.4e-7, "resumed": 0.0}}).splitlines()
    assert lines[0] == "|  | 2 replicas | 2 workers | resumed | accumulated |"
    assert lines[2] == "| a | 2e-07 | — | 0 | — |"


@pytest.fixture(scope="module")
def default_seed():
    return configure().seed


@pytest.mark.slow
@pytest.mark.parametrize("row", verify.ROWS)
def test_every_row_composes_and_differs_from_the_default(row, default_seed):
    for kind in ("alone", "replicas", "workers"):
        for _, name, more in verify._runs([row], kind):
            config = composed(row, tuple(more))
            assert config.train.steps == verify.STEPS
            assert name != "accumulated" or config.train.accumulation > 1
    assert composed(row, ()) != composed("AdamW", ()) or row == "AdamW"
    assert composed(row, ()).seed == default_seed


def test_rows_are_chosen_by_name():
    assert verify._choose(None) == list(verify.ROWS)
    assert verify._choose("LoRA, SGD") == ["SGD", "LoRA"]
    assert verify._choose("drop path, dropout") == ["drop path, dropout"]


def test_a_mistake_is_one_message(monkeypatch, tmp_path):
    with pytest.raises(UserError, match=r"rows: got LoRa, expected .*LoRA"):
        verify._choose("LoRa")
    monkeypatch.setattr(sys, "argv", ["verify", "row=LoRA"])
    with pytest.raises(SystemExit, match=r"row: got an unknown key"):
        verify.main()


def test_a_directory_with_something_else_in_it_is_left_alone(tmp_path):
    (tmp_path / "precious").write_text("x")
    with pytest.raises(UserError, match="out: got"):
        verify._begin(tmp_path)
    assert (tmp_path / "precious").exists()
    verify._begin(tmp_path / "new")
    (tmp_path / "new" / "log").touch()
    verify._begin(tmp_path / "new")
    assert not (tmp_path / "new" / "log").exists()
