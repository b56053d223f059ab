"""Real runs: killed at random times, beside a competing process, and on a full disk.

`pytest --thorough` kills 20 times instead of twice, and fills the disk at every write instead of every
twelfth.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from cait_finetune.scores.predictions import load_predictions
from cait_tf.atomic import PREFIX

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).parents[1]

#: Values that differ between processes: times, and the run's id.
TIMED = ("seconds", "timed_seconds", "waited_seconds", "timed_images", "log_bytes", "run")
OF_RESULT = ("wall_seconds", "train_seconds", "images_per_second", "data_wait_share")
OF_RESULT += ("peak_memory_gb", "finished")
SPEED = ("images_per_second", "data_wait_share")


def lives(kind: str, place: Path, count: int) -> list[str]:
    """Run `tests.lives` and return the words of its last line after the first word."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.lives", kind, str(place), str(count)],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=1800, check=False,
    )  # fmt: skip
    log = place / "log"
    told = log.read_text(encoding="utf-8", errors="replace")[-3000:] if log.exists() else ""
    assert done.returncode == 0, done.stderr[-3000:] + told
    return done.stdout.splitlines()[-1].split()[1:]


@pytest.fixture
def kills(pytestconfig) -> int:
    return 20 if pytestconfig.getoption("thorough") else 2


def progress(path: Path) -> dict:
    """Return the part of a state that is not a tensor, without `TIMED`."""
    with safe_open(path, framework="np") as file:
        values = json.loads(file.metadata()["progress"])
    return {key: value for key, value in values.items() if key not in TIMED}


def records(directory: Path) -> list[dict]:
    first, *lines = (directory / "metrics.jsonl").read_text().splitlines()
    assert json.loads(first)["kind"] == "run"
    return [{**json.loads(line), **dict.fromkeys(SPEED, 0)} for line in lines]


def rows(path: Path) -> list[dict]:
    with open(path, newline="", encoding="utf-8") as file:
        return [{**row, **dict.fromkeys(SPEED, 0)} for row in csv.DictReader(file)]


def unlike(one: Path, other: Path) -> list[str]:
    """Return the names of tensors that are not bit-equal in two files."""
    first, second = load_file(one), load_file(other)
    assert first.keys() == second.keys()
    return [key for key in first if first[key].tobytes() != second[key].tobytes()]


def files(directory: Path) -> set[str]:
    """Return the files of a run, without TensorBoard event files, whose names differ."""
    found = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}
    return {name for name in found if "events.out.tfevents" not in name}


def check_whole(run: Path, whole: Path) -> None:
    """Assert that a run has all results of an undisturbed run, bit for bit."""
    assert files(run) == files(whole)
    assert not [name for name in files(run) if PREFIX in name]
    for path in sorted(whole.glob("checkpoints/*.safetensors")):
        assert unlike(path, run / "checkpoints" / path.name) == []
    state = max(path.name for path in whole.glob("checkpoints/state_*"))
    assert progress(run / "checkpoints" / state) == progress(whole / "checkpoints" / state)
    assert records(run) == records(whole)
    for name in ("steps.csv", "epochs.csv"):
        assert rows(run / name) == rows(whole / name)
    for split in ("validation", "test"):
        one, other = (load_predictions(at / "predictions" / f"{split}.npz") for at in (run, whole))
        assert np.array_equal(one.logits, other.logits)
    results = [json.loads((at / "result.json").read_text()) for at in (run, whole)]
    assert all(result["finished"] for result in results)
    one, other = ({k: v for k, v in one.items() if k not in OF_RESULT} for one in results)
    assert one == other
    assert one["exports"].keys() == {"saved_model", "timm"}


def test_kills_in_training_lose_nothing(tmp_path, kills):
    done, stateless, states, weights = map(int, lives("training", tmp_path, kills))
    assert done == kills
    assert stateless >= 1
    assert states >= kills // 5
    assert weights >= kills // 5
    log = (tmp_path / "log").read_text(encoding="utf-8", errors="replace")
    assert "is damaged" not in log  # no half-written file may have the name of a state
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    last = max((whole / "checkpoints").glob("state_*")).stem
    for name in (last, "best", "last"):
        one, other = (at / "checkpoints" / f"{name}.safetensors" for at in (whole, killed))
        assert unlike(one, other) == []
        if name.startswith("state"):
            # All kinds of state are saved and differ from their initial zeros.
            kinds, state = (
                ("/m", "/v", "train/average/0", "train/loss_scale/good_steps"),
                load_file(one),
            )
            assert all(any(k.endswith(kind) and state[k].any() for k in state) for kind in kinds)
    ends = [progress(at / "checkpoints" / f"{last}.safetensors") for at in (whole, killed)]
    assert ends[0] == ends[1]
    assert f"state_{ends[0]['step']:08}" == last
    assert ends[0]["best_epoch"] >= 1
    assert records(killed) == records(whole)


def test_kills_after_training_lose_nothing(tmp_path, kills):
    """Kill by SIGKILL, SIGTERM or SIGHUP, while a second process competes for the directory."""
    done, refused = map(int, lives("after", tmp_path, kills))
    assert done == kills
    assert refused >= kills
    runs = sorted(tmp_path.glob("killed_*"))
    assert runs
    for run in runs:
        check_whole(run, tmp_path / "whole")


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on files is tried on Linux")
def test_a_disk_that_is_full_at_any_write_loses_nothing(tmp_path, pytestconfig):
    stride = 1 if pytestconfig.getoption("thorough") else 12
    filled, *met = lives("disk", tmp_path, stride)
    assert int(filled) == len(met) // stride
    names = {name.partition("#")[0] for name in met}
    assert len(names) > 25
    assert {"config.yaml", "metrics.jsonl", "result.json", "report.html"} <= names
    assert {"checkpoints/best.safetensors", "export/saved_model", "predictions/test.npz"} <= names
    check_whole(tmp_path / "killed", tmp_path / "whole")
