"""A real run, killed at twenty random points, many of them while a checkpoint is being written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from safetensors import safe_open
from safetensors.numpy import load_file

REPOSITORY = Path(__file__).parents[1]

# In a process of its own, which has imported everything but started nothing: each life of the run is
# a fork of it, so that what is waited for is the run and not the imports.
LIVES = """
import os, random, signal, sys, time
from pathlib import Path

import cait_finetune.story.preparation
import cait_finetune.story.training
from cait_finetune.cli import configure
from cait_finetune.story.preparation import prepare

place, kills = Path(sys.argv[1]), int(sys.argv[2])
words = ["model.image_size=16", "train.epochs=null", "train.steps=75",
         "train.batch_size=64", "train.log_every=2", "checkpoint.every_steps=3", "average=ema",
         "model.drop_path_rate=0.1", "augment.mixup=0.8", "schedule.warmup_epochs=null",
         "schedule.warmup_steps=5", "train.precision=mixed_float16"]
# Slow on a CPU, and so refused; but only float16 has a loss scale, which has to come back, too.
cait_finetune.story.preparation.check_precision = lambda *_: None


def live(directory):
    config = configure(*words)
    if (directory / "config.yaml").exists():
        config.resume = str(directory)
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        with open(place / "log", "a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        cait_finetune.story.training.train(config, prepare(config, directory))
        code = 0
    finally:
        os._exit(code)


def ended(pid):
    return os.waitpid(pid, os.WNOHANG)[0] == pid


whole, killed = place / "whole", place / "killed"
assert os.waitstatus_to_exitcode(os.waitpid(live(whole), 0)[1]) == 0
checkpoints = killed / "checkpoints"
STATES, WEIGHTS = "*.unfinished", ".*.partial"  # while they are being written
chance = random.Random(0)
half_written = {STATES: 0, WEIGHTS: 0}
done = stateless = 0
while done < kills:
    pid = live(killed)
    states = set(checkpoints.glob("state_*"))
    # First before any step, then after the first; later anywhere, or when a file is half written.
    begun = done >= 2
    writing = chance.choice((None, None, STATES, STATES, WEIGHTS)) if begun else None
    wait_for = chance.randint(0, 1) if begun else 0  # new states
    until = None
    while not ended(pid):
        if writing:
            now = any(checkpoints.glob(writing))
        elif begun:
            if until is None and (not wait_for or set(checkpoints.glob("state_*")) - states):
                until = time.monotonic() + chance.uniform(0, 0.5 if wait_for else 4)
            now = until is not None and time.monotonic() >= until
        else:
            now = (killed / ("metrics.jsonl" if done else "parameters.csv")).exists()
        if now:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            for kind in half_written:
                half_written[kind] += any(checkpoints.glob(kind))
            stateless += not any(checkpoints.glob("state_*.safetensors"))
            done += 1
            break
        time.sleep(0.0002 if writing else 0.01)
    else:
        break  # it came to its end before its time
if done == kills:
    assert os.waitstatus_to_exitcode(os.waitpid(live(killed), 0)[1]) == 0
print("KILLS", done, stateless, *half_written.values())
"""


def progress(path: Path) -> dict:
    """What of a state is no tensor, without the run's id and what depends on the time that was taken."""
    with safe_open(path, framework="np") as file:
        values = json.loads(file.metadata()["progress"])
    timed = ("seconds", "timed_seconds", "waited_seconds", "timed_images", "log_bytes")
    return {key: value for key, value in values.items() if key not in (*timed, "run")}


def records(directory: Path) -> list[dict]:
    lines = (directory / "metrics.jsonl").read_text().splitlines()
    return [{**json.loads(line), "images_per_second": 0, "data_wait_share": 0} for line in lines]


def test_twenty_kills_lose_nothing(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LIVES, str(tmp_path), "20"],
        cwd=REPOSITORY, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    log = (tmp_path / "log").read_text()
    assert done.returncode == 0, done.stderr[-3000:] + log[-3000:]
    kills, stateless, states, weights = map(int, done.stdout.split("KILLS")[1].split())
    assert kills == 20
    assert stateless >= 1
    assert states >= 3
    assert weights >= 1
    assert "is damaged" not in log  # half a file never has a state's name
    for name in ("state_00000075", "best", "last"):
        one, other = (
            load_file(tmp_path / run / "checkpoints" / f"{name}.safetensors")
            for run in ("whole", "killed")
        )
        assert one.keys() == other.keys()
        assert [key for key in one if one[key].tobytes() != other[key].tobytes()] == []
        if name.startswith("state"):
            # What has to come back is all there, and is not what it was at the start.
            kinds = ("/m", "/v", "train/average/0", "train/loss_scale/good_steps")
            assert all(any(key.endswith(kind) and one[key].any() for key in one) for kind in kinds)
    ends = [
        progress(tmp_path / run / "checkpoints" / "state_00000075.safetensors")
        for run in ("whole", "killed")
    ]
    assert ends[0] == ends[1]
    assert ends[0]["step"] == 75
    assert ends[0]["best_epoch"] >= 1
    assert records(tmp_path / "killed") == records(tmp_path / "whole")
