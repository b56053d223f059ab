"""When the compiled operations are used, and how XLA compiles them."""

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
    """Trace inference with the compiled operations.

    Not the default: a SavedModel, and a graph that is converted, must do without XLA.
    """
    token = _inference.set(True)
    try:
        yield
    finally:
        _inference.reset(token)


def used(training: bool) -> bool:
    """Whether the compiled operations are traced: in training, and in `compiled_inference`."""
    return training or inferring()


def inferring() -> bool:
    """Whether inference is being traced inside `compiled_inference`."""
    return _inference.get()


def compiled(function: Callable) -> Callable:
    """Compile `function` with XLA if TensorFlow has no device but CPUs."""
    fused = tf.function(function, jit_compile=True, autograph=False)

    @functools.wraps(function)
    def call(*inputs: Any) -> Any:
        return fused(*inputs) if compiles() else function(*inputs)

    return call


def compiles() -> bool:
    """Whether `compiled` uses XLA."""
    return cpu_alone()


@functools.cache
def cpu_alone() -> bool:
    """Whether TensorFlow sees no accelerator."""
    return {device.device_type for device in tf.config.list_logical_devices()} == {"CPU"}


def fuses() -> bool:
    """Whether what follows a product is made one operation with it, in oneDNN's float32.

    Not in a graph that is kept from being rewritten, as a run's training step is: that has kernels.
    """
    return cpu_alone() and not tf.executing_eagerly()


def exact_products() -> bool:
    """Whether products of float32 are of float32: elsewhere they may be rounded to TF32 or bfloat16."""
    return cpu_alone()


def wait_for(upstream: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """`x`, but what is computed from it waits for `upstream`, instead of being kept until then.

    XLA heeds no control dependencies, and sees that the same has been computed before. Where it may
    have the whole step, on accelerators, a zero is added of which it does not see that it is one.
    """
    with tf.control_dependencies([upstream]):
        if cpu_alone():
            return tf.identity(x)
        one = tf.reduce_max(tf.reshape(upstream, [-1])[:1])
        return x + tf.cast(one > float("inf"), x.dtype)  # no number is, nor is a NaN
