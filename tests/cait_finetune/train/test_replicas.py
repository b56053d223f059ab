"""Loss scale, skipped step and averages on two replicas of the CPU against one device.

TensorFlow must split its CPU before first use, so two replicas need a new process.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from cait_finetune.config import DistributionConfig
from cait_finetune.model import Head
from cait_finetune.optim.adamw import AdamW
from cait_finetune.optim.parameters import parameter_table
from cait_finetune.train.average import MovingAverage, holding
from cait_finetune.train.distribution import build_strategy
from cait_finetune.train.loss import CrossEntropy
from cait_finetune.train.loss_scale import LossScale
from cait_finetune.train.step import STEP_METRICS, TrainStep
from tests.cait_finetune.tiny import batch, optimizer_config, snapshot, tiny_model

STEPS, BROKEN, SIZE = 4, 1, 8


def trained(devices: int, head: str, jit_compile: bool) -> dict:
    """Return metrics, weights and state after `STEPS` steps, one with a gradient of NaN.

    A BatchNorm head is trained on a frozen backbone.
    """
    strategy = build_strategy(
        DistributionConfig("mirrored", devices) if devices > 1 else DistributionConfig("cpu")
    )
    with strategy.scope():
        model = tiny_model(depth=1, depth_token_only=1, head=head)
        linear = head == "linear"
        # Epsilon exceeds the rounding noise of zero gradients.
        table = parameter_table(model, "full" if linear else "linear_probe", 0.75, 0.05)
        optimizer = AdamW(table, optimizer_config(epsilon=1e-4))
        average, mean = (MovingAverage(optimizer.variables, 0.9, True) for _ in range(2))
        scale = LossScale()
        step = TrainStep(
            model if linear else Head(model),
            optimizer,
            strategy,
            CrossEntropy(0.1),
            0.5,
            scale,
            jit_compile,
            accumulation=2,
            average=average,
            frozen=None if linear else model.backbone,
        )
    metrics, correct = [], STEP_METRICS.index("correct")
    for number in range(STEPS):
        images, labels = batch(SIZE, number)
        if number == BROKEN:
            images = tf.where(tf.range(SIZE)[:, None, None, None] == SIZE - 1, np.nan, images)
        metrics.append(step(*(_divided(strategy, part) for part in (images, labels)), [1e-2]))
        mean.add()  # outside the step and any strategy scope, as SWA does
    # Which logit of NaN is the highest depends on XLA. No epoch counts a skipped step.
    metrics = np.concatenate(metrics)
    metrics[BROKEN, correct] = 0
    with holding(optimizer.variables, mean.present()):
        held = snapshot(model)
    state = {name: np.array(tf.identity(value)) for name, value in step.state.items()}
    return {"metrics": metrics, "weights": snapshot(model), "mean": held, **state}


def _divided(strategy: tf.distribute.Strategy, whole: tf.Tensor) -> object:
    parts = tf.split(whole, strategy.num_replicas_in_sync)
    if len(parts) == 1:
        return whole
    return strategy.experimental_distribute_values_from_function(
        lambda context: parts[context.replica_id_in_sync_group]
    )


@pytest.fixture(
    scope="module",
    params=[("linear", False), ("batchnorm_linear", False), ("batchnorm_linear", True)],
    ids=str,
)
def both(request):
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        two = pool.submit(trained, 2, *request.param).result(timeout=240)
    return trained(1, *request.param), two


@pytest.mark.slow
def test_a_step_that_one_replica_cannot_do_is_skipped_on_both(both):
    for one in both:
        assert one["metrics"][:, 3].tolist() == [1, 0, 1, 1]
        assert one["loss_scale/scale"] == 2.0**14
        assert one["loss_scale/good_steps"] == STEPS - 1 - BROKEN
        assert one["average/updates"] == one["optimizer/step"] == STEPS - 1
        assert one["steps_tried"] == STEPS


@pytest.mark.slow
def test_two_replicas_are_one_device(both):
    alone, two = both
    for name, value in alone.items():
        values = value if isinstance(value, dict) else {name: value}
        others = two[name] if isinstance(value, dict) else {name: two[name]}
        for key, own in values.items():
            np.testing.assert_allclose(others[key], own, rtol=0, atol=1e-5, err_msg=key)


@pytest.mark.slow
def test_the_mean_is_no_copy_of_the_weights(both):
    for one in both:
        assert (
            max(np.abs(one["mean"][key] - one["weights"][key]).max() for key in one["mean"]) > 1e-3
        )
