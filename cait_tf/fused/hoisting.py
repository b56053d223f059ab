"""What a loop over parts of a batch makes of weights: once, before it, and not for every part."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import keras
import tensorflow as tf

from cait_tf.fused.compiled import cpu_alone

# The graph in which the loop is, and what has been made there already.
_around: ContextVar[tuple[tf.Graph, dict[tuple, tf.Tensor]] | None] = ContextVar(
    "around", default=None
)


@contextlib.contextmanager
def hoisted_weights() -> Iterator[None]:
    """Around a loop while its body is traced: what `hoist` returns in there has been made in the graph
    that is the current one here.

    On a CPU alone: what is made is held as long as the loop runs, of the largest models 1 GB.
    """
    inside = cpu_alone() and not tf.executing_eagerly()
    token = _around.set((tf.compat.v1.get_default_graph(), {}) if inside else None)
    try:
        yield
    finally:
        _around.reset(token)


def hoist(make: Callable[..., tf.Tensor], dtype: str, *weights: Any) -> Callable[..., tf.Tensor]:
    """``make(dtype, *tensors)`` as a function of the tensors of weights, which a loop calls only once.

    Args:
        weights: where all are Keras variables, and not tensors such as the sum of a kernel and its
            low-rank update, the result for them is made before the loop, and that is returned.
    """
    around = _around.get()
    if around is None or not all(isinstance(one, keras.Variable) for one in weights):
        return lambda *tensors: make(dtype, *tensors)
    graph, made = around
    key = (make, dtype, *map(id, weights))
    if key not in made:
        with graph.as_default():
            made[key] = make(dtype, *map(tf.convert_to_tensor, weights))
    return lambda *_: made[key]
