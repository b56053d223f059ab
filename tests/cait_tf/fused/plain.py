"""Plain formulas and TensorFlow's own gradients, which those by hand are compared with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tests.cait_tf.arrays import normal


def value_and_gradients(function: Callable, inputs: list[tf.Tensor]) -> list[tf.Tensor]:
    """The value, and the gradients of a sum of it with fixed weights."""
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        y = function(*inputs)
        loss = tf.reduce_sum(y * tf.constant(normal(*y.shape), y.dtype))
    return [y, *tape.gradient(loss, inputs)]


def distance(ours: Callable, plain: Callable, shapes: list, dtype: str) -> float:
    """How far value and gradients of ours, eager and in a graph, are from the plain formula's."""
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
    """How far ours in half precision is from the plain formula in float64, in units of the largest
    value's last place, or of 1's."""
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
