"""Run Grappler, TensorFlow's graph optimizer, without the passes that do not help a fused step."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from cait_tf.fused.tensorflow import cpu_alone

#: The disabled passes. Pruning and the removal of duplicate nodes stay on, to reduce memory.
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
    """Disable the passes in `REWRITING` inside the block, on a CPU.

    Put all calls of a `tf.function` inside the block, or none. The training step consists of fused
    operations. The passes do not make the step faster, and they delay its first call. Options that
    the user set stay. On an accelerator the block changes nothing, because the effect of the passes
    there was not measured.

    The options belong to the process: two threads must not use the block at the same time.
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
