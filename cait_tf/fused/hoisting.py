"""Compute weight-only tensors once, before a loop over micro-batches."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any

import keras
import tensorflow as tf

from cait_tf.fused.compiled import cpu_alone

# The graph that contains the loop, and the tensors already hoisted into that graph.
_around: ContextVar[tuple[tf.Graph, dict[tuple, tf.Tensor]] | None] = ContextVar(
    "around", default=None
)


@contextlib.contextmanager
def hoisted_weights() -> Iterator[None]:
    """Let `hoist` compute in the current graph while the body of a loop is traced.

    Hoisting works on a CPU only, because the hoisted tensors stay in memory while the loop runs.
    """
    inside = cpu_alone() and not tf.executing_eagerly()
    token = _around.set((tf.compat.v1.get_default_graph(), {}) if inside else None)
    try:
        yield
    finally:
        _around.reset(token)


def hoist(make: Callable[..., tf.Tensor], dtype: str, *weights: Any) -> Callable[..., tf.Tensor]:
    """Return a function of the weights' tensors that returns ``make(dtype, *tensors)``.

    Args:
        make: computes a tensor from a dtype and the weights' tensors.
        dtype: dtype of the result.
        weights: Keras variables or tensors. If all are variables, `make` runs once, before the
            loop. With a tensor, such as the sum of a kernel and its low-rank update, it runs in
            every iteration.
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
