"""TensorFlow's own rewriting of a graph before its first run, left out where nothing comes of it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from cait_tf.fused.tensorflow import cpu_alone

#: What is left out. The removal of what nobody needs, and of what is there twice, is not: a step of
#: cait_xxs24_224 would hold .2 GB more.
REWRITING = (
    "arithmetic_optimization",
    "constant_folding",
    "dependency_optimization",
    "function_optimization",
    "implementation_selector",
    "layout_optimizer",
    "loop_optimization",
    "remapping",
    "shape_optimization",
)


@contextlib.contextmanager
def only_pruned() -> Iterator[None]:
    """What is called in here is pruned and not rewritten, on a CPU: a function has to be called so always.

    Without dropout the step is made of kernels that are fused already: of cait_xxs24_224 with AdamW it
    is no faster when it is rewritten, and its first run takes seconds more. What the user has chosen
    stays. Elsewhere all is rewritten as ever: what that is worth on accelerators has not been measured.

    The options are the process's: not for steps of several threads at a time.
    """
    if not cpu_alone():
        yield
        return
    chosen = tf.config.optimizer.get_experimental_options()
    left_out = [name for name in REWRITING if name not in chosen]
    tf.config.optimizer.set_experimental_options(dict.fromkeys(left_out, False))
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options(dict.fromkeys(left_out))  # None: the default
