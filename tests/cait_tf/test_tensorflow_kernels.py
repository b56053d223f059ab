"""Formulas with gradients by hand against the plain ones and TensorFlow's own gradients."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cait_tf import tensorflow_kernels as kernels
from tests.cait_tf.arrays import normal

MAPS = (2, 3, 5, 5)  # (B, H, N, N)


def plain_gelu(x: tf.Tensor) -> tf.Tensor:
    return 0.5 * x * (1 + tf.math.erf(x / 2**0.5))  # TensorFlow's own has a constant of nine digits


def plain_norm(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> tf.Tensor:
    mean, variance = tf.nn.moments(x, [-1], keepdims=True)
    return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)


def plain_heads(q, k, v, kernel_l, bias_l, kernel_w, bias_w) -> tf.Tensor:
    def mix(maps: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        return tf.einsum("bhnm,hk->bknm", maps, kernel) + bias[:, None, None]

    maps = tf.nn.softmax(mix(tf.einsum("bhnd,bhmd->bhnm", q, k), kernel_l, bias_l))
    return tf.einsum("bhnm,bhmd->bhnd", mix(maps, kernel_w, bias_w), v)


HEADS = [(2, 3, 5, 4)] * 3 + [(3, 3), (3,), (3, 3), (3,)]
#: Ours, the plain one, and the shapes of the inputs.
FORMULAS = {
    "gelu": (kernels.gelu, plain_gelu, [(4, 7)]),
    "layer_norm": (
        lambda x, gamma, beta: kernels.layer_norm(x, gamma, beta, 1e-3),
        plain_norm,
        [(2, 5, 7), (7,), (7,)],
    ),
    "talking_heads": (
        lambda q, k, v, *mixings: kernels.talking_heads(q, k, v, mixings[:2], mixings[2:]),
        plain_heads,
        HEADS,
    ),
}


def value_and_gradients(function, inputs: list[tf.Tensor], upstream: np.ndarray | None = None):
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        y = function(*inputs)
        loss = tf.reduce_sum(y * tf.constant(normal(*y.shape), y.dtype))
    return [y, *tape.gradient(loss, inputs)]


@pytest.mark.parametrize("compiled", [True, False], ids=["xla", "plain"])
@pytest.mark.parametrize(("dtype", "near"), [("float64", 1e-12), ("float32", 2e-5)])
@pytest.mark.parametrize("name", FORMULAS)
def test_value_and_gradients_are_those_of_the_plain_formula(
    name, dtype, near, compiled, monkeypatch
):
    ours, plain, shapes = FORMULAS[name]
    monkeypatch.setattr(kernels, "_cpu_alone", lambda: compiled)
    inputs = [tf.constant(normal(*shape), dtype) for shape in shapes]
    wanted = value_and_gradients(plain, inputs)
    for run in (ours, tf.function(ours)):
        for got, expected in zip(value_and_gradients(run, inputs), wanted, strict=True):
            assert got.dtype == dtype
            np.testing.assert_allclose(got, expected, rtol=0, atol=near)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["gelu", "talking_heads"])
def test_half_precision_rounds_the_exact_one(name, dtype):
    ours, plain, shapes = FORMULAS[name]
    inputs = [tf.cast(tf.constant(normal(*shape)), dtype) for shape in shapes]
    wanted = value_and_gradients(plain, [tf.cast(one, "float64") for one in inputs])
    unit = 2**-8 if dtype == "bfloat16" else 2**-11
    for got, expected in zip(value_and_gradients(ours, inputs), wanted, strict=True):
        assert got.dtype == dtype
        size = np.abs(expected).max()
        np.testing.assert_allclose(
            tf.cast(got, "float64"), expected, rtol=0, atol=12 * unit * max(size, 1)
        )


def test_the_bias_that_the_softmax_takes_out_has_exactly_no_gradient():
    inputs = [tf.constant(normal(*shape), tf.float32) for shape in HEADS]
    gradients = value_and_gradients(FORMULAS["talking_heads"][0], inputs)[1:]
    np.testing.assert_array_equal(gradients[4], np.zeros(3))


def test_one_map_is_kept_for_the_gradient():
    def step(*inputs: tf.Tensor) -> list[tf.Tensor]:
        return value_and_gradients(FORMULAS["talking_heads"][0], list(inputs))[1:]

    specs = [tf.TensorSpec(shape, tf.float32) for shape in HEADS]
    graph = tf.function(step).get_concrete_function(*specs).graph
    assert sum(one.type == "Softmax" for one in graph.get_operations()) == 1


def test_large_and_small_values_stay_finite():
    x = tf.constant([-1e4, -30.0, -1e-30, 0.0, 1e-30, 30.0, 1e4])
    y, gradient = value_and_gradients(kernels.gelu, [x])
    # XLA's erf ends a unit in the last place before 1.
    np.testing.assert_array_less(np.abs(y - tf.maximum(x, 0)), 1e-29 + 1.5e-7 * np.abs(x))
    assert np.isfinite(gradient).all()
