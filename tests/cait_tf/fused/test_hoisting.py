"""Hoisted weights: they are computed once, before the loop."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cait_tf import CaiTBackbone
from cait_tf.fused import hoisting, thresholds
from cait_tf.fused import tensorflow as kernels
from cait_tf.fused.hoisting import hoist
from tests.cait_tf.arrays import normal
from tests.cait_tf.fused.xla import CPU_ALONE

KERNEL, GAMMA = normal(3, 4), normal(4)


def to_compute_dtype(dtype: str, *weights: tf.Tensor) -> tf.Tensor:
    return tf.cast(weights[0] * weights[-1], dtype)


def summed(make, before: bool) -> tf.types.experimental.GenericFunction:
    """Return a function that sums two results of `make` in each of three loop rounds."""

    def add(number: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return number + 1, total + tf.cast(make() + make(), tf.float32)

    def loop() -> tf.Tensor:
        start = tf.constant(0), tf.zeros_like(KERNEL, tf.float32)
        return tf.while_loop(lambda number, _: number < 3, add, start)[1]

    def run() -> tf.Tensor:
        if not before:
            return loop()
        with kernels.hoisted_weights():
            return loop()

    return tf.function(run, autograph=False)


def casts(graph: tf.Graph, shape: tuple[int, ...]) -> tuple[int, int]:
    """Count bfloat16 casts of `shape` in the graph itself and in the functions that it calls."""

    def count(nodes) -> int:
        return sum(
            node.op == "Cast"
            and node.attr["DstT"].type == tf.bfloat16.as_datatype_enum
            and [
                tuple(dim.size for dim in one.dim) for one in node.attr["_output_shapes"].list.shape
            ]
            == [shape]
            for node in nodes
        )

    written = graph.as_graph_def(add_shapes=True)
    inner = (node for one in written.library.function for node in one.node_def)
    return count(written.node), count(inner)


@CPU_ALONE
def test_a_hoisted_weight_is_cast_once_with_equal_results():
    kernel, gamma = keras.Variable(KERNEL), keras.Variable(GAMMA)

    def make() -> tf.Tensor:
        return hoist(to_compute_dtype, "bfloat16", kernel, gamma)(kernel, gamma)

    before, each = summed(make, before=True), summed(make, before=False)
    assert casts(before.get_concrete_function().graph, KERNEL.shape) == (1, 0)
    assert casts(each.get_concrete_function().graph, KERNEL.shape) == (0, 2)
    np.testing.assert_array_equal(before(), each())
    np.testing.assert_allclose(before(), 6 * KERNEL * GAMMA, rtol=0.02)
    kernel.assign(2 * KERNEL)  # the loop reads the value at its start, not at tracing
    np.testing.assert_allclose(before(), 12 * KERNEL * GAMMA, rtol=0.02)


@CPU_ALONE
def test_each_weight_and_dtype_is_hoisted_separately():
    one, other = keras.Variable(KERNEL), keras.Variable(2 * KERNEL)

    def make() -> tf.Tensor:
        parts = hoist(to_compute_dtype, "bfloat16", one), hoist(to_compute_dtype, "float32", one)
        return tf.add_n([tf.cast(part(one), tf.float32) for part in parts]) + tf.cast(
            hoist(to_compute_dtype, "bfloat16", other)(other), tf.float32
        )

    before = summed(make, before=True)
    assert casts(before.get_concrete_function().graph, KERNEL.shape) == (2, 0)
    np.testing.assert_allclose(before(), 6 * 6 * KERNEL**2, rtol=0.02)


def test_a_tensor_that_is_not_a_variable_is_not_hoisted():
    kernel = keras.Variable(KERNEL)

    def make() -> tf.Tensor:
        total = kernel + kernel
        return hoist(to_compute_dtype, "bfloat16", total)(total)

    before = summed(make, before=True)
    assert casts(before.get_concrete_function().graph, KERNEL.shape) == (0, 2)
    np.testing.assert_allclose(before(), 6 * 4 * KERNEL**2, rtol=0.02)


@pytest.mark.parametrize("eager", [True, False])
def test_nothing_is_hoisted_eagerly_or_on_an_accelerator(eager, monkeypatch):
    kernel = keras.Variable(KERNEL)
    monkeypatch.setattr(hoisting, "cpu_alone", lambda: eager)

    def make() -> tf.Tensor:
        return hoist(to_compute_dtype, "bfloat16", kernel)(kernel)

    if eager:
        with kernels.hoisted_weights():
            assert make().dtype == "bfloat16"
    else:
        before = summed(make, before=True)
        assert casts(before.get_concrete_function().graph, KERNEL.shape) == (0, 2)


@pytest.mark.slow
@CPU_ALONE
def test_inference_in_parts_rounds_a_kernel_before_them(monkeypatch):
    monkeypatch.setattr(thresholds, "LEAST_PATCHES", {False: 16})
    backbone = CaiTBackbone(
        image_size=8, patch_size=4, embed_dim=16, depth=2, num_heads=2, dtype="mixed_bfloat16"
    )
    infer = tf.function(lambda x: kernels.infer(backbone, x))
    graph = infer.get_concrete_function(tf.TensorSpec([12, 8, 8, 3])).graph
    assert casts(graph, (16, 48)) == (2, 0)  # the qkv kernels of two blocks
