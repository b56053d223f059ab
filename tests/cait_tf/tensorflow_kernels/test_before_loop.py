"""What is made of weights before a loop, and that it is made only once."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cait_tf import CaiTBackbone
from cait_tf import tensorflow_kernels as kernels
from cait_tf.tensorflow_kernels import before_loop, side_by_side
from tests.cait_tf.arrays import normal

KERNEL, GAMMA = normal(3, 4), normal(4)


def summed(make, before: bool) -> tf.types.experimental.GenericFunction:
    """The sum over three rounds of what `make` returns twice in each."""

    def add(number: tf.Tensor, total: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return number + 1, total + tf.cast(make() + make(), tf.float32)

    def loop() -> tf.Tensor:
        start = tf.constant(0), tf.zeros_like(KERNEL, tf.float32)
        return tf.while_loop(lambda number, _: number < 3, add, start)[1]

    def run() -> tf.Tensor:
        if not before:
            return loop()
        with kernels.weights_before_loop():
            return loop()

    return tf.function(run, autograph=False)


def casts(graph: tf.Graph, shape: tuple[int, ...]) -> tuple[int, int]:
    """Casts to bfloat16 of such a shape, in the graph itself and in the functions that it calls."""

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


@pytest.mark.parametrize("scaled", [False, True], ids=["rounded", "scaled"])
def test_it_is_made_once_and_is_the_same(scaled):
    kernel, gamma = keras.Variable(KERNEL), keras.Variable(GAMMA)

    def make() -> tf.Tensor:
        if scaled:
            return before_loop.scaled(kernel, gamma, "bfloat16")
        return before_loop.rounded(kernel, "bfloat16")

    once, each = summed(make, before=True), summed(make, before=False)
    assert casts(once.get_concrete_function().graph, KERNEL.shape) == (1, 0)
    assert casts(each.get_concrete_function().graph, KERNEL.shape) == (0, 2)
    np.testing.assert_array_equal(once(), each())
    exact = KERNEL * (GAMMA if scaled else 1)
    np.testing.assert_allclose(once(), 6 * exact, rtol=0.02, atol=1e-6)
    kernel.assign(2 * KERNEL)  # what it is when the loop begins, not when it was traced
    np.testing.assert_allclose(once(), 12 * exact, rtol=0.02, atol=1e-6)


def test_what_is_no_variable_is_made_where_it_is():
    kernel = keras.Variable(KERNEL)
    once = summed(lambda: before_loop.rounded(kernel + kernel, "bfloat16"), before=True)
    assert casts(once.get_concrete_function().graph, KERNEL.shape) == (0, 2)
    np.testing.assert_allclose(once(), 12 * KERNEL, rtol=0.02)


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="this machine has a GPU")
def test_inference_in_parts_rounds_a_kernel_before_them(monkeypatch):
    monkeypatch.setattr(side_by_side, "_LEAST_PATCHES", {True: 8, False: 16})
    backbone = CaiTBackbone(
        image_size=8, patch_size=4, embed_dim=16, depth=2, num_heads=2, dtype="mixed_bfloat16"
    )
    infer = tf.function(lambda x: kernels.infer(backbone, x))
    graph = infer.get_concrete_function(tf.TensorSpec([12, 8, 8, 3])).graph
    assert casts(graph, (16, 48)) == (2, 0)  # queries, keys and values of two blocks
