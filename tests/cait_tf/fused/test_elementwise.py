"""GELU and LayerNorm against the plain formulas."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cait_tf.fused import compiled
from cait_tf.fused import tensorflow as kernels
from cait_tf.fused.elementwise import column_sums
from tests.cait_tf.arrays import normal
from tests.cait_tf.fused.plain import (
    distance,
    units_of_rounding,
    value_and_gradients,
)


def plain_gelu(x: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    y = x + bias
    return 0.5 * y * (1 + tf.math.erf(y / 2**0.5))  # tf.nn.gelu rounds its constant to float32


def plain_norm(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> tf.Tensor:
    mean, variance = tf.nn.moments(x, [-1], keepdims=True)
    return tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)


def norm(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> tf.Tensor:
    return kernels.layer_norm(x, gamma, beta, 1e-3, x.dtype.name)


#: The fused function, the plain formula, and the shapes of the inputs.
FORMULAS = {
    "gelu": (kernels.gelu, plain_gelu, [(4, 7), (7,)]),
    "layer_norm": (norm, plain_norm, [(2, 5, 7), (7,), (7,)]),
}


@pytest.mark.parametrize("by_xla", [True, False], ids=["xla", "plain"])
@pytest.mark.parametrize(("dtype", "near"), [("float64", 1e-12), ("float32", 2e-5)])
@pytest.mark.parametrize("name", FORMULAS)
def test_value_and_gradients_are_those_of_the_plain_formula(name, dtype, near, by_xla, monkeypatch):
    monkeypatch.setattr(compiled, "cpu_alone", lambda: by_xla)
    assert distance(*FORMULAS[name], dtype) < near


@pytest.mark.parametrize("by_xla", [True, False], ids=["xla", "plain"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_gelu_in_half_precision_rounds_the_exact_one(dtype, by_xla, monkeypatch):
    monkeypatch.setattr(compiled, "cpu_alone", lambda: by_xla)
    assert units_of_rounding(*FORMULAS["gelu"], dtype) < 12


def test_layer_norm_rounds_once_at_the_end():
    x, gamma, beta = (tf.constant(normal(*s), tf.float32) for s in FORMULAS["layer_norm"][2])
    got = kernels.layer_norm(x, gamma, beta, 1e-3, "bfloat16")
    exact = kernels.layer_norm(x, gamma, beta, 1e-3, "float32")
    np.testing.assert_array_equal(
        tf.cast(got, "float32"), tf.cast(tf.cast(exact, "bfloat16"), "float32")
    )


def test_large_and_small_values_stay_finite():
    x = tf.constant([[-1e4, -30.0, -1e-30, 0.0, 1e-30, 30.0, 1e4]])
    y, gradient, _ = value_and_gradients(kernels.gelu, [x, tf.zeros(7)])
    # XLA's erf saturates one unit in the last place below 1.
    np.testing.assert_array_less(np.abs(y - tf.maximum(x, 0)), 1e-29 + 1.5e-7 * np.abs(x))
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("rows", [5, None], ids=["known", "unknown"])
@pytest.mark.parametrize("rank", [2, 3])
def test_column_sums_of_any_number_of_rows(rank, rows):
    x = normal(5, 3) if rank == 2 else normal(5, 2, 3)
    spec = tf.TensorSpec([rows, *x.shape[1:]], tf.float32)
    got = tf.function(column_sums, input_signature=[spec])(tf.constant(x, tf.float32))
    np.testing.assert_allclose(got, np.reshape(x, (-1, 3)).sum(0), rtol=1e-5, atol=1e-6)


def test_column_sums_of_a_known_number_of_rows_ask_for_no_shape():
    graph = tf.function(column_sums).get_concrete_function(tf.TensorSpec([5, 3])).graph
    assert not {"Shape", "Reshape"} & {operation.type for operation in graph.get_operations()}


def test_column_sums_of_half_precision_are_added_up_in_float32():
    ones = tf.ones([1000, 3], "bfloat16")  # a bfloat16 sum would stop at 256
    np.testing.assert_array_equal(tf.cast(column_sums(ones), "float32"), [1000] * 3)
