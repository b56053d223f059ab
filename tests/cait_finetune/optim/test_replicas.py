"""Compare every optimizer on two replicas of the CPU with one device.

TensorFlow can split its CPU into two devices only before first use. The replicas therefore run in a
separate process.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from tests.cait_finetune.optim.test_optimizers import NAMES, SHAPES, gradients, make, run, table

STEPS = 4
ROWS = {"multipliers": (1.0, 0.5, 0.25), "decays": (0.1, 0.0, 0.1)}


def on_two_replicas(name: str, merged: bool) -> tuple[list[np.ndarray], ...]:
    """Return the weights on each replica and the evaluation values after `STEPS` steps.

    The replicas get a quarter and three quarters of each gradient.

    Args:
        name: name of the optimizer.
        merged: call `apply` once for both replicas; otherwise each replica calls `apply`.
    """
    (cpu,) = tf.config.list_physical_devices("CPU")
    if len(tf.config.get_logical_device_configuration(cpu) or ()) != 2:
        both = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(cpu, both)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    with strategy.scope():
        optimizer = make(name, table(**ROWS))

    def replica_step(given: list[tf.Tensor]) -> None:
        context = tf.distribute.get_replica_context()
        share = 0.25 + 0.5 * tf.cast(context.replica_id_in_sync_group, tf.float32)
        summed = context.all_reduce(tf.distribute.ReduceOp.SUM, [share * g for g in given])
        if merged:
            context.merge_call(
                lambda _, values: optimizer.apply(values, tf.constant(1e-2)), args=(summed,)
            )
        else:
            optimizer.apply(summed, tf.constant(1e-2))

    step = tf.function(lambda given: strategy.run(replica_step, args=(given,)))
    for number in range(STEPS):
        step(gradients(number))
    assert optimizer.step.numpy() == STEPS
    copies = [strategy.experimental_local_results(v) for v in optimizer.variables]
    evaluated = optimizer.evaluation_values()
    return (
        [one.numpy() for one, _ in copies],
        [other.numpy() for _, other in copies],
        [] if evaluated is None else [value.numpy() for value in evaluated],
    )


@pytest.fixture(scope="module")
def process():
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.mark.slow
@pytest.mark.parametrize("merged", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_two_replicas_are_one_device(process, name, merged):
    first, second, evaluated = process.submit(on_two_replicas, name, merged).result(timeout=120)
    alone = make(name, table(**ROWS))
    expected = run(alone, range(STEPS))
    assert len(first) == len(SHAPES)
    for got, other, wanted in zip(first, second, expected, strict=True):
        np.testing.assert_array_equal(got, other)
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6)
    for got, wanted in zip(evaluated, alone.evaluation_values() or [], strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-6)
    assert bool(evaluated) == (name == "schedule_free")
