"""TensorFlow's own rewriting of a graph before its first run, left out where nothing comes of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from cait_tf.tensorflow_kernels import cpu_alone

_OFF = "disable_meta_optimizer"


@contextlib.contextmanager
def as_traced() -> Iterator[None]:
    """What is called in here runs as it was traced, on a CPU: a function has to be called so every time.

    The step is made of kernels that are fused already: rewritten it is no faster, and cait_xxs24_224's
    takes 41 seconds to its first step instead of 28 on two cores. Elsewhere TensorFlow rewrites it as
    ever: what that is worth on accelerators has not been measured.
    """
    before = tf.config.optimizer.get_experimental_options().get(_OFF, False)
    if before or not cpu_alone():
        yield
        return
    tf.config.optimizer.set_experimental_options({_OFF: True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({_OFF: before})
