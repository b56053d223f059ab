"""`branch` runs one of several computations, in a graph or eagerly."""

import pytest
import tensorflow as tf

from cait_finetune.data.branch import branch


def _choose(index: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    return branch(index, [lambda x: x, lambda x: x[:2], lambda x: 10 * x], x)


@pytest.mark.parametrize("function", [_choose, tf.function(_choose)], ids=["eager", "graph"])
def test_the_branch_of_the_index_is_taken(function):
    found = [function(tf.constant(i), tf.range(3)).numpy().tolist() for i in range(3)]
    assert found == [[0, 1, 2], [0, 1], [0, 10, 20]]


def test_lengths_that_differ_are_open():
    graph = tf.function(_choose).get_concrete_function(
        tf.TensorSpec((), tf.int32), tf.TensorSpec((3, 4), tf.int32)
    )
    assert graph.output_shapes.as_list() == [None, 4]


def test_an_unselected_branch_does_not_run():
    def fails(x: tf.Tensor) -> tf.Tensor:
        return tf.io.decode_jpeg(tf.strings.as_string(x))[0, 0, 0]

    def choose(index: tf.Tensor) -> tf.Tensor:
        return branch(index, [lambda x: tf.constant(7, tf.uint8), fails], tf.constant(0))

    assert tf.function(choose)(tf.constant(0)) == 7
    with pytest.raises(tf.errors.InvalidArgumentError, match="JPEG"):
        tf.function(choose)(tf.constant(1))


def test_operations_of_branches_are_not_in_the_graph():
    graph = tf.function(_choose).get_concrete_function(
        tf.TensorSpec((), tf.int32), tf.TensorSpec((3,), tf.int32)
    )
    kinds = {one.type for one in graph.graph.get_operations()}
    assert "StatelessCase" in kinds
    assert not kinds & {"Mul", "StridedSlice", "Switch"}
    node = next(one for one in graph.graph.get_operations() if one.type == "StatelessCase")
    assert "_lower_using_switch_merge" not in node.node_def.attr


def test_another_tensor_is_refused():
    @tf.function
    def captures(index: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        return branch(index, [lambda one: one, lambda one: one + x], tf.constant(1))

    with pytest.raises(ValueError, match="not among its inputs"):
        captures(tf.constant(0), tf.constant(2))
