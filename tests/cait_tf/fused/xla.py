"""A skip mark for machines with a GPU, and the number of a graph's XLA-compiled operations."""

from __future__ import annotations

import pytest
import tensorflow as tf

CPU_ALONE = pytest.mark.skipif(
    bool(tf.config.list_physical_devices("GPU")), reason="this machine has a GPU"
)


def compiled_parts(function: tf.types.experimental.GenericFunction, x: tf.Tensor) -> int:
    """Return how many operations of a graph XLA compiles."""
    graph = function.get_concrete_function(x).graph.as_graph_def()
    theirs = {one.signature.name for one in graph.library.function if one.attr["_XlaMustCompile"].b}
    return sum(any(a.func.name in theirs for a in node.attr.values()) for node in graph.node)
