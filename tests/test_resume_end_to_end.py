"""The command, ended by SIGTERM and resumed, and two workers on one machine."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cait_finetune.train.cluster import free_ports
from tests.test_end_to_end import ROOT, finetune

pytestmark = pytest.mark.slow

QUICK = ["model.image_size=16", "train.batch_size=64", "export=none",
         "train.epochs=4", "train.log_every=5", "average=swa", "average.swa_epochs=2",
         "tuning=head_then_full", "tuning.head_epochs=1"]  # fmt: skip


def command(run: Path, *words: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "cait_finetune", *words],
        cwd=run.parent, env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def start_workers(run: Path, count: int, *words: str) -> list[subprocess.Popen]:
    addresses = [f"127.0.0.1:{port}" for port in free_ports(count)]
    workers = []
    for index in range(count):
        value = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        workers.append(
            command(run, *words, "distribution=multi_worker", TF_CONFIG=json.dumps(value))
        )
    return workers


def wait_for_a_state(run: Path, *processes: subprocess.Popen) -> None:
    """Wait until the run has saved a state. Fail if one of its processes has ended before."""
    until = time.monotonic() + 300
    while not list(run.glob("checkpoints/state_*.safetensors")) and time.monotonic() < until:
        for process in processes:
            assert process.poll() is None, process.communicate()
        time.sleep(0.02)


def records(run: Path) -> list[dict]:
    first, *lines = (run / "metrics.jsonl").read_text().splitlines()
    assert json.loads(first)["kind"] == "run"
    return [{**json.loads(line), "images_per_second": 0, "data_wait_share": 0} for line in lines]


def test_a_run_that_is_asked_to_end_goes_on_as_if_nothing_had_happened(tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    done = finetune(whole, *QUICK, data_dir=tmp_path / "data")
    assert done.returncode == 0, done.stderr

    first = command(cut, *QUICK, f"hydra.run.dir={cut}")
    wait_for_a_state(cut)
    first.send_signal(signal.SIGTERM)
    _, err = first.communicate(timeout=120)
    assert first.returncode == 75, err
    assert f"cait_finetune: SIGTERM: the state is saved; continue with resume={cut}" in err
    assert "Traceback" not in err
    assert not (cut / "result.json").exists()

    # a refused resume changes no file
    before = {path: path.read_bytes() for path in cut.rglob("*") if path.is_file()}
    wrong = command(cut, f"resume={cut}", "seed=7")
    _, err = wrong.communicate(timeout=120)
    assert wrong.returncode == 1
    assert "seed: 0 → 7" in err
    assert {path: path.read_bytes() for path in cut.rglob("*") if path.is_file()} == before

    second = command(cut, f"resume={cut}", "train.max_hours=5")
    out, err = second.communicate(timeout=240)
    assert second.returncode == 0, err
    assert "as after step" in out
    assert "resume train.max_hours: null → 5.0" in err
    assert "max_hours: 5.0" in (cut / "config.yaml").read_text()  # the next resume keeps the value
    assert records(cut) == records(whole)
    results = [json.loads((run / "result.json").read_text()) for run in (whole, cut)]
    for key in ("test_top1", "test_top5", "test_loss", "best_epoch", "validation_top1", "steps"):
        assert results[0][key] == results[1][key], key
    assert len(json.loads((cut / "environment.json").read_text())) == 2  # one record per process
    assert "resume" not in (cut / "command.txt").read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "cut",
        "data",
        "whole",
    ]  # no outputs/ directory

    third = command(cut, f"resume={cut}")
    _, err = third.communicate(timeout=120)
    assert third.returncode == 1
    assert "whose run is finished" in err


def test_a_run_that_is_asked_to_end_before_its_first_step_can_be_started_again(tmp_path):
    run = tmp_path / "run"
    words = [*QUICK[:3], "debug=fast_dev_run", f"hydra.run.dir={run}"]
    first = command(run, *words)
    until = time.monotonic() + 60
    while not run.exists() and time.monotonic() < until:
        time.sleep(0.01)  # next the command imports TensorFlow, which is slow
    first.send_signal(signal.SIGTERM)
    _, err = first.communicate(timeout=60)
    assert first.returncode == 75, err
    assert "SIGTERM: training had not begun; give the same command again" in err
    assert "Traceback" not in err

    again = command(run, *words)
    _, err = again.communicate(timeout=240)
    assert again.returncode == 0, err


def test_a_worker_names_a_peer_that_does_not_answer(tmp_path):
    value = {
        "cluster": {"worker": ["127.0.0.1:0", "127.0.0.1:9"]},
        "task": {"type": "worker", "index": 0},
    }
    with socket.create_server(("127.0.0.1", 0)) as server:
        value["cluster"]["worker"][0] = f"127.0.0.1:{server.getsockname()[1]}"
    words = ["distribution=multi_worker", "distribution.timeout=1", f"hydra.run.dir={tmp_path}/run"]
    alone = command(tmp_path / "run", *words, TF_CONFIG=json.dumps(value))
    _, err = alone.communicate(timeout=120)
    assert alone.returncode == 1
    assert "no answer from 127.0.0.1:9 in 1 s" in err
    assert "Traceback" not in err
    assert not list((tmp_path / "run").glob("[!.]*"))


def test_two_workers_make_one_run_although_one_of_them_dies(tmp_path):
    run = tmp_path / "run"
    words = [*QUICK[:4], "train.epochs=1000", "checkpoint.every_steps=5", f"hydra.run.dir={run}"]
    workers = start_workers(run, 2, *words, "train.eval_batch_size=50")
    wait_for_a_state(run, *workers)
    workers[0].kill()
    _, err = workers[1].communicate(timeout=120)
    assert workers[1].returncode == 75
    assert "distribution: got no answer from another worker" in err
    assert f"start all workers again with resume={run}" in err
    assert "Traceback" not in err
    workers[0].communicate()

    again = start_workers(run, 2, f"resume={run}", "train.max_hours=1e-6")
    (chief_out, chief_err), (other_out, other_err) = (
        worker.communicate(timeout=240) for worker in again
    )
    assert [worker.returncode for worker in again] == [0, 0], chief_err + other_err
    assert "on 2 workers, 2 replicas, CPU" in chief_out
    assert "as after step" in chief_out
    assert other_out.strip() == ""
    # Only the chief writes. 180 images in batches of 25 per worker: an incomplete last batch.
    (epoch,) = (record for record in records(run)[-1:] if record["kind"] == "epoch")
    right = epoch["validation_top1"] * 180
    assert right == pytest.approx(round(right))
    result = json.loads((run / "result.json").read_text())
    assert result["test_examples"] == 360
    assert result["stopped_by"] == "train.max_hours"
