"""Run one of several functions in TensorFlow's graph, at no cost for the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf


def branch(index: tf.Tensor, functions: Sequence[Callable], *inputs: tf.Tensor) -> Any:
    """Return ``functions[index](*inputs)``, like ``tf.switch_case``.

    ``tf.switch_case`` and ``tf.cond`` put the operations of all branches into one graph. The
    executor then also visits the operations of branches that are not taken. For a JPEG these are
    most operations, and they slow the input pipeline.

    Args:
        index: () int32.
        functions: functions that use no tensors other than `inputs`. All return the same number of
            tensors with the same dtypes. A dimension in which their static shapes differ is `None`
            in the result. A process traces a ``tf.function``, or a function without closure and
            default arguments, once per input signature.
        inputs: arguments of the chosen function.

    Raises:
        ValueError: a function uses other tensors. Eager execution does not check this.
    """
    if tf.executing_eagerly():
        chosen = functions[int(index)]
        # Run the operations eagerly: a graph rounds some results differently.
        return getattr(chosen, "python_function", chosen)(*inputs)
    tensors = [tf.convert_to_tensor(one) for one in inputs]
    specs = [tf.TensorSpec(one.shape, one.dtype) for one in tensors]
    traced = [_traced(one, specs) for one in functions]
    for one in traced:
        if one.captured_inputs:
            raise ValueError(f"{one} uses tensors that are not among its inputs")
    shapes = [tf.nest.flatten(one.output_shapes) for one in traced]
    with tf.device("/cpu:0"):  # TensorFlow would choose a GPU, which has no strings
        outputs = tf.raw_ops.StatelessCase(
            branch_index=index,
            input=tensors,
            Tout=tf.nest.flatten(traced[0].output_dtypes),
            branches=traced,
            output_shapes=[_common(of_one) for of_one in zip(*shapes, strict=True)],
        )
    return tf.nest.pack_sequence_as(traced[0].structured_outputs, outputs)


#: Traced functions by code and input types. A lambda has the same code each time it is created.
_KEPT: dict[tuple, Any] = {}


def _traced(function: Callable, specs: Sequence[tf.TensorSpec]) -> Any:
    """Return the function's graph, traced once per process if possible.

    Tracing is slow for the large graph of image decoding, and a run has several pipelines.
    """
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
