"""One of several computations in TensorFlow's graph, of which the others cost nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf


def branch(index: tf.Tensor, functions: Sequence[Callable], *inputs: tf.Tensor) -> Any:
    """``functions[index](*inputs)``, as ``tf.switch_case``, of functions that use no other tensors.

    ``tf.switch_case`` and ``tf.cond`` put the operations of all branches into one graph, and its
    executor goes through those of the branches not taken, too. To read a JPEG that is 600 of 750
    operations: without them the input pipeline made 1.1 times as many images a second.

    Args:
        index: () int32.
        functions: a function without closure, or a ``tf.function``, is traced once in a process for
            inputs of the same types; all return tensors of the same number and types; None stands for any length where
            their shapes differ.
    """
    if tf.executing_eagerly():
        chosen = functions[int(index)]
        # Operation by operation: a graph of it would round otherwise in places.
        return getattr(chosen, "python_function", chosen)(*inputs)
    tensors = [tf.convert_to_tensor(one) for one in inputs]
    specs = [tf.TensorSpec(one.shape, one.dtype) for one in tensors]
    traced = [_traced(one, specs) for one in functions]
    for one in traced:
        if one.captured_inputs:
            raise ValueError(f"{one} uses tensors that are not among its inputs")
    shapes = [tf.nest.flatten(one.output_shapes) for one in traced]
    with tf.device("/cpu:0"):  # a GPU would take it, and not the strings that files are
        outputs = tf.raw_ops.StatelessCase(
            branch_index=index,
            input=tensors,
            Tout=tf.nest.flatten(traced[0].output_dtypes),
            branches=traced,
            output_shapes=[_common(of_one) for of_one in zip(*shapes, strict=True)],
        )
    return tf.nest.pack_sequence_as(traced[0].structured_outputs, outputs)


#: By code and types of inputs: lambdas that are made anew in each call have the same code.
_KEPT: dict[tuple, Any] = {}


def _traced(function: Callable, specs: Sequence[tf.TensorSpec]) -> Any:
    """The function's graph. To decode an image takes a thousand operations, and a run has ten pipelines."""
    if hasattr(function, "get_concrete_function"):
        return function.get_concrete_function(*specs)
    if not hasattr(function, "__code__") or function.__closure__ or function.__defaults__:
        return tf.function(function, autograph=False).get_concrete_function(*specs)
    key = (function.__code__, *specs)
    if key not in _KEPT:
        _KEPT[key] = tf.function(function, autograph=False).get_concrete_function(*specs)
    return _KEPT[key]


def _common(shapes: Sequence[tf.TensorShape]) -> tf.TensorShape:
    common = shapes[0]
    for shape in shapes[1:]:
        common = common.most_specific_compatible_shape(shape)
    return common
