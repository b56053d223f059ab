"""Tune the process: call `configure_process` when a command starts, and `tuned_call` around a step.

These two functions use the other modules of this package that speed up training. `xla_cache` is
separate, because it must act before TensorFlow is loaded.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from cait_finetune.config import Config
from cait_finetune.runtime.gc import gc_disabled
from cait_finetune.runtime.grappler import grappler_prune_only
from cait_finetune.runtime.malloc import malloc_trim
from cait_finetune.runtime.threads import configure_threads
from cait_tf.variants import Variant


def configure_process(config: Config, variant: Variant, training: bool = True) -> bool:
    """Tune the process for a run, before TensorFlow uses its devices.

    Only a command calls this function, in its own process, because TensorFlow cannot change its
    threads later. A program that calls `cait_finetune.finetune` keeps TensorFlow's threads.

    Args:
        training: whether the process trains. If false, it only evaluates, in float32.

    Returns:
        Whether each TensorFlow operation has one thread.
    """
    return configure_threads(config, variant, training)


@contextlib.contextmanager
def tuned_call(function: tf.types.experimental.PolymorphicFunction) -> Iterator[None]:
    """Tune the process inside the block, for one call of the training function `function`.

    Python's garbage collector and, on a CPU, most passes of Grappler are disabled. If the call
    has traced a graph, the end of the block returns the freed memory to the operating system.
    """
    graphs = function.experimental_get_tracing_count()
    with grappler_prune_only(), gc_disabled():
        yield
    if function.experimental_get_tracing_count() > graphs:
        malloc_trim()
