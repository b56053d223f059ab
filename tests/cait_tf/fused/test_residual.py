"""The ends of a residual branch against the plain formulas."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cait_tf.fused import compiled
from cait_tf.fused import tensorflow as kernels
from tests.cait_tf.arrays import normal
from tests.cait_tf.fused.plain import distance, value_and_gradients

B, N, D, K = 2, 5, 7, 6
EPSILON = 1e-3
FACTOR = tf.constant([[[0.0]], [[1.25]]])


def plain_entrance(x, gamma, beta, kernel) -> tf.Tensor:
    mean, variance = tf.nn.moments(x, [-1], keepdims=True)
    y = tf.nn.batch_normalization(x, mean, variance, beta, gamma, EPSILON)
    return tf.reshape(y, [B * N, D]) @ kernel


def entrance(x, gamma, beta, kernel) -> tf.Tensor:
    return kernels.layernorm_matmul(x, (gamma, beta), EPSILON, kernel, x.dtype.name)


def plain_exit(x, branch, kernel, bias, gamma, factor=1.0) -> tf.Tensor:
    return x + factor * gamma * tf.reshape(branch @ kernel + bias, [B, N, D])


def plain_some(*inputs) -> tf.Tensor:
    return plain_exit(*inputs, factor=tf.cast(FACTOR, inputs[0].dtype))


def some(*inputs) -> tf.Tensor:
    return kernels.residual_matmul(*inputs, factor=FACTOR)


def plain_gelu(x, branch, kernel, bias, gamma, gelu_bias) -> tf.Tensor:
    y = branch + gelu_bias
    return plain_exit(x, 0.5 * y * (1 + tf.math.erf(y / 2**0.5)), kernel, bias, gamma)


def with_gelu(*inputs) -> tf.Tensor:
    return kernels.residual_matmul(*inputs[:-1], gelu_bias=inputs[-1])


EXIT = [(B, N, D), (B * N, K), (K, D), (D,), (D,)]
#: The fused function, the plain formula, and the shapes of the inputs.
FORMULAS = {
    "entrance": (entrance, plain_entrance, [(B, N, D), (D,), (D,), (D, K)]),
    "exit": (kernels.residual_matmul, plain_exit, EXIT),
    "stochastic_depth": (some, plain_some, EXIT),
    "gelu": (with_gelu, plain_gelu, [*EXIT, (K,)]),
}


@pytest.mark.slow
@pytest.mark.parametrize("by_xla", [True, False], ids=["xla", "plain"])
@pytest.mark.parametrize(("dtype", "near"), [("float64", 1e-12), ("float32", 3e-5)])
@pytest.mark.parametrize("name", FORMULAS)
def test_value_and_gradients_are_those_of_the_plain_formula(name, dtype, near, by_xla, monkeypatch):
    monkeypatch.setattr(compiled, "cpu_alone", lambda: by_xla)
    assert distance(*FORMULAS[name], dtype) < near


@pytest.mark.slow
@pytest.mark.parametrize("half", ["bfloat16", "float16"])
def test_a_branch_in_half_precision_of_a_stream_in_float32(half):
    """The weights and their gradients are float32."""

    def whole(x, gamma, beta, first, gelu_bias, second, bias, scale) -> tf.Tensor:
        rows = kernels.layernorm_matmul(x, (gamma, beta), EPSILON, first, half)
        assert rows.dtype == half
        return kernels.residual_matmul(x, rows, second, bias, scale, gelu_bias=gelu_bias)

    def plain(x, gamma, beta, first, gelu_bias, second, bias, scale) -> tf.Tensor:
        rows = plain_entrance(x, gamma, beta, first)
        return plain_gelu(x, rows, second, bias, scale, gelu_bias)

    shapes = [(B, N, D), (D,), (D,), (D, K), (K,), (K, D), (D,), (D,)]
    inputs = [tf.constant(normal(*shape), tf.float32) for shape in shapes]
    wanted = value_and_gradients(plain, [tf.cast(one, "float64") for one in inputs])
    unit = 2**-8 if half == "bfloat16" else 2**-11
    for one, exact in zip(value_and_gradients(whole, inputs), wanted, strict=True):
        assert one.dtype == "float32"
        near = 8 * unit * max(float(np.abs(exact).max()), 1.0)
        np.testing.assert_allclose(one, exact, rtol=0, atol=near)


def test_the_gradient_keeps_the_stream_and_one_product():
    """A branch keeps the stream and one product, but no output of LayerNorm, GELU or LayerScale."""

    def branch(x, gamma, beta, first, gelu_bias, second, bias, scale) -> tf.Tensor:
        rows = kernels.layernorm_matmul(x, (gamma, beta), EPSILON, first, "float32")
        return kernels.residual_matmul(x, rows, second, bias, scale, gelu_bias=gelu_bias)

    shapes = [(B, N, D), (D,), (D,), (D, K), (K,), (K, D), (D,), (D,)]
    specs = [tf.TensorSpec(shape, tf.float32) for shape in shapes]

    def step(*inputs: tf.Tensor) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            y = branch(*inputs)
            middle = tf.identity(tf.reduce_sum(y), name="middle")
        return tape.gradient(middle, inputs)

    graph = tf.function(step).get_concrete_function(*specs).graph
    operations = graph.get_operations()
    middle = operations.index(graph.get_operation_by_name("middle"))
    kept = {
        root(source).name
        for later in operations[middle + 1 :]
        for source in later.inputs
        if source.op in operations[:middle] and source.shape.num_elements() >= B * N * K
    }
    kinds = sorted(graph.get_tensor_by_name(name).op.type for name in kept)
    assert kinds == ["MatMul", "Placeholder"]  # the product and the stream


def root(tensor: tf.Tensor) -> tf.Tensor:
    """Return the tensor that owns the memory of `tensor`."""
    while tensor.op.type in ("Identity", "IdentityN", "Reshape"):
        tensor = tensor.op.inputs[tensor.value_index if tensor.op.type == "IdentityN" else 0]
    return tensor
