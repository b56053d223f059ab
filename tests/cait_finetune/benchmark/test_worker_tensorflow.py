from dataclasses import replace

import numpy as np
import pytest

from cait_finetune.benchmark import worker_tensorflow as ours
from cait_finetune.benchmark.task import Task

NANO = Task("training", "cait_nano_32", "float32", batch_size=2, threads=1, image_size=16)


@pytest.fixture
def built(monkeypatch):
    """Return the list of models that the worker builds."""
    models, build = [], ours.models.build
    monkeypatch.setattr(
        ours.models, "build", lambda *words: models.append(build(*words)) or models[-1]
    )
    return models


@pytest.mark.slow
def test_training_is_the_step_of_a_run(built):
    step = ours.prepare(NANO)
    before = [variable.numpy() for variable in built[0].trainable_variables]
    [first], [second] = step(), step()
    assert first[3] == second[3] == 1  # finite
    assert second[0] < first[0] == pytest.approx(np.log(1000), rel=0.1)
    moved = [
        not np.array_equal(old, variable)
        for old, variable in zip(before, built[0].trainable_variables, strict=True)
    ]
    assert np.mean(moved) > 0.9


@pytest.mark.slow
def test_inference_is_an_evaluation_of_the_batch(built):
    evaluation = ours.prepare(replace(NANO, work="inference", precision="mixed_bfloat16"))()
    assert evaluation.examples == 2
    assert evaluation.loss == pytest.approx(np.log(1000), rel=0.1)
    assert built[0].backbone.compute_dtype == "bfloat16"


@pytest.mark.slow
def test_latency_is_that_of_the_exported_model(built):
    answer = ours.prepare(replace(NANO, work="latency", batch_size=1))()
    images = np.random.default_rng(0).normal(size=(1, 16, 16, 3)).astype("float32")
    np.testing.assert_allclose(answer, built[0](images), atol=1e-4)


@pytest.mark.parametrize("single", [False, True])
def test_a_single_threaded_latency_task_limits_operations_to_one_thread(single, monkeypatch):
    asked = []
    monkeypatch.setattr(ours, "single_threaded_ops", asked.append)
    monkeypatch.setattr(ours, "_latency", lambda *_: None)
    ours.prepare(replace(NANO, work="latency", batch_size=1, single_threaded=single))
    assert len(asked) == single


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_a_peak_that_a_processor_has(precision, monkeypatch):
    monkeypatch.setattr(ours, "SIZES", (256,))
    assert 1e9 < ours.matmul_flops(precision, seconds=0.0) < 1e15
