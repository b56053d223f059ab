"""Jobs through submitit's local executor, which replaces SLURM."""

from __future__ import annotations

import json
import sys

import pytest

from cait_finetune.commands import train

pytestmark = pytest.mark.slow

pytest.importorskip("submitit", reason="pip install 'cait-finetune[cluster]'")


def test_submitit_runs_jobs_and_one_that_fails_keeps_the_others(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setattr(sys, "argv", [
        "cait_finetune", "-m", "hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5",
        "hydra.sweep.dir=sweep", "model.weights=gone.safetensors,pretrained", "seed=3",
        "model.image_size=8", "debug=fast_dev_run", "export=none", "tuning=linear_probe",
        f"tuning.cache_dir={tmp_path}/cache",
    ])  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        train.main()
    assert "gone.safetensors" in ended.value.code
    assert "gone.safetensors" in (tmp_path / "sweep/0/failure.txt").read_text()
    result = json.loads((tmp_path / "sweep/1/result.json").read_text())
    assert result["steps"] == 2
    assert result["finished"]
    assert "seed=3" in (tmp_path / "sweep/1/command.txt").read_text()
    summary = json.loads((tmp_path / "sweep/summary.json").read_text())
    assert [run["directory"] for run in summary["runs"]] == ["sweep/1"]
    assert "summary sweep" in capsys.readouterr().out  # the launching process prints the summary
    assert list((tmp_path / "sweep/.submitit").glob("*/*_result.pkl"))
