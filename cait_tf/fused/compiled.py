"""Decide where the compiled operations are used, and compile them with XLA."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import tensorflow as tf

_inference = ContextVar("compiled_inference", default=False)


@contextmanager
def compiled_inference() -> Iterator[None]:
    """Trace inference with the compiled operations inside the block.

    By default inference uses no compiled operations, because exported graphs cannot use XLA.
    """
    token = _inference.set(True)
    try:
        yield
    finally:
        _inference.reset(token)


def used(training: bool) -> bool:
    """Whether a trace uses compiled operations: in training, and inside `compiled_inference`."""
    return training or inferring()


def inferring() -> bool:
    """Whether inference is being traced inside `compiled_inference`."""
    return _inference.get()


def compiled(function: Callable) -> Callable:
    """Compile `function` with XLA if TensorFlow sees only CPUs. Otherwise run it as it is."""
    fused = tf.function(function, jit_compile=True, autograph=False)

    @functools.wraps(function)
    def call(*inputs: Any) -> Any:
        return fused(*inputs) if compiles() else function(*inputs)

    return call


def compiles() -> bool:
    """Whether `compiled` uses XLA: only if TensorFlow sees no accelerator."""
    return cpu_alone()


@functools.cache
def cpu_alone() -> bool:
    """Whether TensorFlow sees no accelerator."""
    return {device.device_type for device in tf.config.list_logical_devices()} == {"CPU"}


def fuses() -> bool:
    """Whether oneDNN may fuse a matrix product with the operations after it: in a graph, on CPUs alone.

    The fused operation computes in float32. The function also returns `True` in a run's training
    step, where Grappler's rewriting is off. That step uses the compiled operations instead.
    """
    return cpu_alone() and not tf.executing_eagerly()


def exact_products() -> bool:
    """Whether float32 products stay float32. Accelerators may round to TF32 or bfloat16."""
    return cpu_alone()


def wait_for(upstream: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Return `x`, but make every computation that uses the result wait for `upstream`.

    Without the wait, TensorFlow recomputes tensors early and keeps them. XLA ignores control
    dependencies and merges a recomputation with the first computation. On accelerators XLA may
    compile the whole step, so the function adds a zero there that XLA cannot constant-fold.
    """
    with tf.control_dependencies([upstream]):
        if cpu_alone():
            return tf.identity(x)
        one = tf.reduce_max(tf.reshape(upstream, [-1])[:1])
        return x + tf.cast(one > float("inf"), x.dtype)  # always 0, also for a NaN
