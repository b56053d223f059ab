"""A real run, killed at twenty random points, half of them while a checkpoint is being written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from safetensors.numpy import load_file

REPOSITORY = Path(__file__).parents[1]

# In a process of its own, which has imported everything but started nothing: each life of the run is
# a fork of it, so that what is waited for is the run and not the imports.
LIVES = """
import os, random, signal, sys, time
from pathlib import Path

import cait_finetune.training
from cait_finetune.cli import configure
from cait_finetune.preparation import prepare

place, kills = Path(sys.argv[1]), int(sys.argv[2])
words = ["model.image_size=16", "train.jit_compile=false", "train.epochs=null", "train.steps=75",
         "train.batch_size=64", "train.log_every=2", "checkpoint.every_steps=3", "average=ema",
         "model.drop_path_rate=0.1", "augment.mixup=0.8", "schedule.warmup_epochs=null",
         "schedule.warmup_steps=5"]


def live(directory):
    config = configure(*words)
    if (directory / "checkpoints").exists() and list(directory.glob("checkpoints/state_*.safetensors")):
        config.resume = str(directory)
    else:
        for file in directory.glob("**/*.*"):
            file.unlink()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        with open(place / "log", "a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        cait_finetune.training.train(config, prepare(config, directory))
        code = 0
    finally:
        os._exit(code)


def ended(pid):
    return os.waitpid(pid, os.WNOHANG)[0] == pid


whole, killed = place / "whole", place / "killed"
assert os.waitstatus_to_exitcode(os.waitpid(live(whole), 0)[1]) == 0
chance = random.Random(0)
half_written, done = 0, 0
while done < kills:
    pid = live(killed)
    states = set(killed.glob("checkpoints/state_*.safetensors"))
    unfinished = chance.random() < 0.5
    wait_for = chance.randint(0, 1)  # new states
    deadline = None
    while not ended(pid):
        new = set(killed.glob("checkpoints/state_*.safetensors")) - states
        if len(new) >= wait_for or wait_for == 0:
            deadline = deadline or time.monotonic() + chance.uniform(0, 0.5 if wait_for else 4)
            writing = unfinished and any(killed.glob("checkpoints/*.unfinished"))
            if writing or (not unfinished and time.monotonic() >= deadline):
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                half_written += any(killed.glob("checkpoints/*.unfinished"))
                done += 1
                break
        time.sleep(0.0002 if unfinished else 0.01)
    else:
        break  # it came to its end before its time
if done == kills:
    assert os.waitstatus_to_exitcode(os.waitpid(live(killed), 0)[1]) == 0
print("KILLS", done, half_written)
"""


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
    kills, half_written = map(int, done.stdout.split("KILLS")[1].split())
    assert kills == 20
    assert half_written >= 3
    assert "is damaged" not in log  # half a file never has a state's name
    for name in ("state_00000075", "best", "last"):
        one, other = (
            load_file(tmp_path / run / "checkpoints" / f"{name}.safetensors")
            for run in ("whole", "killed")
        )
        assert one.keys() == other.keys()
        assert [key for key in one if one[key].tobytes() != other[key].tobytes()] == []
    assert records(tmp_path / "killed") == records(tmp_path / "whole")
