"""Talking heads against the plain formula."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cait_tf.fused import compiled, micro_batches, thresholds
from cait_tf.fused import tensorflow as kernels
from tests.cait_tf.arrays import normal
from tests.cait_tf.fused.plain import (
    distance,
    units_of_rounding,
    value_and_gradients,
)
from tests.cait_tf.fused.xla import CPU_ALONE

B, N, H, D = 2, 5, 3, 12  # D / H = 4
SHAPES = [(B * N, 3 * D), (3 * D,), (H, H), (H,), (H, H), (H,)]


def plain(product, bias, kernel_l, bias_l, kernel_w, bias_w) -> tf.Tensor:
    def mix(maps: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        return tf.einsum("bhnm,hk->bknm", maps, kernel) + bias[:, None, None]

    qkv = tf.reshape(product + bias, (B, N, 3, H, D // H))
    q, k, v = (qkv[:, :, part] for part in range(3))  # (B, N, H, d) each
    scores = tf.einsum("bnhd,bmhd->bhnm", q, k) * (D // H) ** -0.5
    maps = tf.nn.softmax(mix(scores, kernel_l, bias_l))
    return tf.reshape(tf.einsum("bhnm,bmhd->bnhd", mix(maps, kernel_w, bias_w), v), (B * N, D))


def ours(product, bias, *mixings) -> tf.Tensor:
    return kernels.talking_heads(product, bias, mixings[:2], mixings[2:], N)


@pytest.mark.slow
@pytest.mark.parametrize("by_xla", [True, False], ids=["xla", "plain"])
@pytest.mark.parametrize(("dtype", "near"), [("float64", 1e-12), ("float32", 2e-5)])
def test_value_and_gradients_are_those_of_the_plain_formula(dtype, near, by_xla, monkeypatch):
    monkeypatch.setattr(compiled, "cpu_alone", lambda: by_xla)
    assert distance(ours, plain, SHAPES, dtype) < near


@pytest.mark.parametrize("by_xla", [True, False], ids=["xla", "plain"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_rounds_the_exact_one(dtype, by_xla, monkeypatch):
    monkeypatch.setattr(compiled, "cpu_alone", lambda: by_xla)
    # XLA's bfloat16 rounds ties away from zero, and a sum of two bfloat16 numbers is often a tie.
    assert units_of_rounding(ours, plain, SHAPES, dtype) < (32 if by_xla else 24)


def test_biases_that_the_softmax_takes_out_have_exactly_no_gradient():
    inputs = [tf.constant(normal(*shape), tf.float32) for shape in SHAPES]
    _, _, bias, _, bias_l, _, bias_w = value_and_gradients(ours, inputs)
    np.testing.assert_array_equal(bias_l, np.zeros(H))
    queries, keys, values = np.split(bias.numpy(), 3)
    np.testing.assert_array_equal(keys, np.zeros(D))
    for one in (queries, values, bias_w.numpy()):
        assert one.all()


def step(weights: tf.Tensor, *inputs: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = tf.reduce_sum(ours(*inputs) * weights)
    return loss, tape.gradient(loss, inputs)


def map_products(dtype: str) -> tuple[int, int, int]:
    """Count map operations before and after the upstream gradient, and maps kept for the gradient.

    Map operations are matrix products, mixings and softmaxes. Recomputed maps must depend on the
    upstream gradient. Otherwise TensorFlow would compute them early and keep them.
    """
    specs = [tf.TensorSpec(shape, dtype) for shape in [(B * N, D), *SHAPES]]
    graph = tf.function(lambda *inputs: step(*inputs)).get_concrete_function(*specs).graph
    late = {graph.inputs[0].op}  # only the gradient needs `weights`
    for one in graph.get_operations():
        if late & {*one.control_inputs, *(source.op for source in one.inputs)}:
            late.add(one)
    maps = [
        one
        for one in graph.get_operations()
        if one.outputs and one.outputs[0].shape.num_elements() == B * H * N * N
    ]
    kept = [one for one in maps if one not in late and late & {*one.outputs[0].consumers()}]
    made = [
        one for one in maps if one.type.endswith(("BatchMatMulV2", "Softmax", "PartitionedCall"))
    ]
    again = [one for one in made if one in late]
    return len(made) - len(again), len(again), len(kept)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_gradient_recomputes_the_attention_maps(dtype):
    # Forward: scores, mixing, softmax, mixing. Backward: the same four and three gradients.
    assert map_products(dtype) == (4, 7, 0)


@CPU_ALONE
def test_the_gradient_keeps_small_float32_maps_of_micro_batches(monkeypatch):
    with kernels.tracing_micro_batches():
        assert map_products("bfloat16") == (4, 7, 0)
        monkeypatch.setattr(thresholds, "MOST_BYTES_OF_MAPS", 3 * 4 * B * H * N * N - 1)
        assert map_products("float32") == (4, 7, 0)
        monkeypatch.setattr(thresholds, "MOST_BYTES_OF_MAPS", 3 * 4 * B * H * N * N)
        # Kept: probs, mixed probs, and per-image scores and probs for the kernel gradients.
        assert map_products("float32") == (4, 3, 2)
    assert map_products("float32") == (4, 7, 0)


@CPU_ALONE
def test_kept_maps_have_the_same_gradients():
    inputs = [tf.constant(normal(*shape), tf.float32) for shape in SHAPES]
    again = tf.function(lambda: value_and_gradients(ours, inputs))()
    with kernels.tracing_micro_batches():
        assert micro_batches.keeps_maps(tf.zeros([B, H, N, N]))
        kept = tf.function(lambda: value_and_gradients(ours, inputs))()
    for one, other in zip(kept, again, strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_gradient_recomputes_the_maps_if_xla_compiles_the_step(monkeypatch):
    """XLA must recompute the maps. If XLA merged both computations, it would keep the maps."""
    monkeypatch.setattr(compiled, "cpu_alone", lambda: False)
    inputs = [tf.constant(normal(*shape), tf.float32) for shape in [(B * N, D), *SHAPES]]
    compiled_step = tf.function(step, jit_compile=True, autograph=False)
    text = compiled_step.experimental_get_compiler_ir(*inputs)(stage="optimized_hlo")
    assert text.count(" exponential(") == 2  # the forward and the recomputed softmax
