"""The process's tuning: one `configure_process` when a command starts, one `tuned_call` around a step.

Everything else of this room that speeds training up is entered here. `xla_cache` stands apart: it has
to act before TensorFlow is loaded.
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

    Only a command calls this, in a process of its own: TensorFlow cannot change its threads later. A
    program that calls `cait_finetune.finetune` keeps TensorFlow's threads.

    Args:
        training: whether the process trains. Evaluation alone is in float32.

    Returns:
        Whether each TensorFlow operation has one thread.
    """
    return configure_threads(config, variant, training)


@contextlib.contextmanager
def tuned_call(function: tf.types.experimental.PolymorphicFunction) -> Iterator[None]:
    """Call a training function inside the block; afterwards the process is as it was.

    Inside, Grappler only prunes and Python collects no garbage. When the call has traced a graph, the
    memory that tracing freed is returned to the operating system.
    """
    graphs = function.experimental_get_tracing_count()
    with grappler_prune_only(), gc_disabled():
        yield
    if function.experimental_get_tracing_count() > graphs:
        malloc_trim()
