import os
import re

import pytest

from cait_finetune.runs.nearby import no_run


@pytest.mark.parametrize(
    ("got", "message"),
    [
        ("r1/checkpoints", r"got r1/checkpoints, expected a run\n  Write run=/.*/r1$"),
        ("r11", r"got r11, which does not exist, expected a run\n  did you mean run=r1\?$"),
        ("other", r"got other, which does not exist, .*\n  The newest run is run=outputs/d/m/3$"),
        ("sweep", r"got sweep, expected a run\n  The newest run is run=sweep/1$"),
        ("r1", r"got r1, expected a run$"),
        ("far/away", r"got far/away, which .*\n  The newest run is run=outputs/d/m/3$"),
    ],
)
def test_the_run_that_may_be_meant_is_named(got, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "r1" / "checkpoints").mkdir(parents=True)
    for age, run in enumerate(["sweep/0", "sweep/1", "outputs/d/m/2", "r1", "outputs/d/m/3"]):
        (tmp_path / run).mkdir(parents=True, exist_ok=True)
        (tmp_path / run / "config.yaml").touch()
        os.utime(tmp_path / run / "config.yaml", (age, age))
    assert re.search(message, str(no_run("run", got, "a run")))


def test_no_run_at_all(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(no_run("run", "r", "a run")) == "run: got r, which does not exist, expected a run"
