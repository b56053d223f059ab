"""Grappler, TensorFlow's graph optimizer, without the passes that gain nothing here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from cait_tf.fused.tensorflow import cpu_alone

#: The passes that are left out. Pruning and the removal of duplicates stay: without them a step of
#: cait_xxs24_224 takes 0.2 GB more.
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
def grappler_prune_only() -> Iterator[None]:
    """Call functions inside the block with pruning only, on a CPU. Always call a function this way.

    The step consists of fused operations: rewriting does not make it faster, and its first run takes
    seconds longer. Options that the user chose stay. On accelerators nothing changes: what rewriting is
    worth there has not been measured.

    The options are the process's: threads must not use the block at the same time.
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
