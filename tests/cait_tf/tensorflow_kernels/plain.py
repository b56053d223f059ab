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


def check_exact(ours: Callable, plain: Callable, shapes: list, dtype: str, near: float) -> None:
    """Value and gradients of ours, eager and in a graph, are those of the plain formula."""
    inputs = [tf.constant(normal(*shape), dtype) for shape in shapes]
    wanted = value_and_gradients(plain, inputs)
    for run in (ours, tf.function(ours)):
        for got, expected in zip(value_and_gradients(run, inputs), wanted, strict=True):
            assert got.dtype == dtype
            np.testing.assert_allclose(got, expected, rtol=0, atol=near)


def check_rounded(
    ours: Callable, plain: Callable, shapes: list, dtype: str, units: int = 12
) -> None:
    """Ours in half precision is the plain formula in float64, but for so many units of rounding."""
    inputs = [tf.cast(tf.constant(normal(*shape)), dtype) for shape in shapes]
    wanted = value_and_gradients(plain, [tf.cast(one, "float64") for one in inputs])
    unit = 2**-8 if dtype == "bfloat16" else 2**-11
    for got, expected in zip(value_and_gradients(ours, inputs), wanted, strict=True):
        assert got.dtype == dtype
        size = np.abs(expected).max()
        np.testing.assert_allclose(
            tf.cast(got, "float64"), expected, rtol=0, atol=units * unit * max(size, 1)
        )
