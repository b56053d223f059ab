"""The JAX worker. Each test runs the worker in its own process, where Keras uses JAX."""

import dataclasses
import subprocess
import sys

import pytest

from cait_finetune.benchmark.comparison import OURS_JAX
from cait_finetune.benchmark.task import Task
from cait_finetune.errors import UserError

NANO = Task("training", "cait_nano_32", "mixed_bfloat16", batch_size=2, threads=1, image_size=16)

_TRAINING = """
from cait_finetune.benchmark import worker_jax
from cait_finetune.benchmark.task import Task
import keras
assert keras.backend.backend() == "jax"
made, create = [], worker_jax.create_model
worker_jax.create_model = lambda *given, **named: made.append(create(*given, **named)) or made[-1]
for task in {tasks!r}:
    step = worker_jax.prepare(task)
    assert made[-1].backbone.remat is task.remat
    losses = [step() for _ in range(3)]
    assert abs(losses[0] - 6.9) < 0.7, (task, losses)
    assert losses[0] > losses[1] > losses[2], (task, losses)
    # Three states of float32 for each weight, and what is computed between.
    assert 12 * 260_000 < worker_jax.device_memory() < 20_000_000, worker_jax.device_memory()
assert 1e9 < worker_jax.matmul_flops("float32", seconds=0.0, sizes=[256]) < 1e15
"""


@pytest.mark.slow
def test_training_learns_with_and_without_remat():
    """One process for both tasks, because its imports take as long as its work."""
    code = _TRAINING.format(tasks=[dataclasses.replace(NANO, remat=one) for one in (False, True)])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_worker_measures_inference(worker):
    one = worker(OURS_JAX, dataclasses.replace(NANO, work="inference"))
    one.start()
    assert one.measure(0) > 0


@pytest.mark.slow
def test_a_jax_that_sees_no_gpu(worker, monkeypatch):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    with pytest.raises(UserError, match=r"jax: got version .*, which sees no GPU"):
        worker(OURS_JAX, dataclasses.replace(NANO, device="gpu")).start()
