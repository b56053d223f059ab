"""Compare fused functions and their gradients with plain formulas and TensorFlow's gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tests.cait_tf.arrays import normal


def value_and_gradients(function: Callable, inputs: list[tf.Tensor]) -> list[tf.Tensor]:
    """Return the value, and the gradients of its sum with fixed weights."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        y = function(*inputs)
        loss = tf.reduce_sum(y * tf.constant(normal(*y.shape), y.dtype))
    return [y, *tape.gradient(loss, inputs)]


def distance(ours: Callable, plain: Callable, shapes: list, dtype: str) -> float:
    """Return the largest error of value and gradients, eager and in a graph."""
    inputs = [tf.constant(normal(*shape), dtype) for shape in shapes]
    wanted = value_and_gradients(plain, inputs)
    got = [value_and_gradients(run, inputs) for run in (ours, tf.function(ours))]
    assert {one.dtype.name for run in got for one in run} == {dtype}
    return max(
        float(np.abs(one - expected).max())
        for run in got
        for one, expected in zip(run, wanted, strict=True)
    )


def units_of_rounding(ours: Callable, plain: Callable, shapes: list, dtype: str) -> float:
    """Return the largest half-precision error of value and gradients against float64.

    The unit is the relative rounding error of `dtype`, times each tensor's largest value, or times
    1 if all values are smaller.
    """
    inputs = [tf.cast(tf.constant(normal(*shape)), dtype) for shape in shapes]
    wanted = value_and_gradients(plain, [tf.cast(one, "float64") for one in inputs])
    got = value_and_gradients(ours, inputs)
    assert {one.dtype.name for one in got} == {dtype}
    unit = 2**-8 if dtype == "bfloat16" else 2**-11
    return max(
        float(np.abs(tf.cast(one, "float64") - expected).max())
        / (unit * max(float(np.abs(expected).max()), 1.0))
        for one, expected in zip(got, wanted, strict=True)
    )
