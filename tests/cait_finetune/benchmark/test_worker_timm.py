"""The timm worker, in its own process. The tests need timm."""

import json

import pytest

from tests.alone import run_alone

pytestmark = pytest.mark.needs("timm")

PEAK = """
import sys
from cait_finetune.benchmark import worker_timm
print(worker_timm.matmul_flops(sys.argv[1], seconds=0.0))
"""

CHECKPOINTING = """
import json
import sys
import timm
from cait_finetune.benchmark import worker_timm
from cait_finetune.benchmark.task import Task

made, create = [], timm.create_model
timm.create_model = lambda *given, **named: made.append(create(*given, **named)) or made[-1]
task = Task("training", "cait_xxs24_224", "float32", 2, 1, image_size=32, remat=json.loads(sys.argv[1]))
worker_timm.prepare(task)
print(json.dumps([one.grad_checkpointing for one in made]))
"""


def test_the_loaders_are_those_of_the_input_benchmark():
    run_alone(
        "from cait_finetune.benchmark import task, worker_timm\n"
        "assert tuple(worker_timm.LOADERS) == task.AUGMENTATIONS"
    )


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_a_peak_that_a_processor_has(precision):
    assert 1e9 < float(run_alone(PEAK, precision)) < 1e15


@pytest.mark.parametrize("remat", [False, True])
def test_timm_with_its_gradient_checkpointing(remat):
    assert json.loads(run_alone(CHECKPOINTING, json.dumps(remat))) == [remat]
