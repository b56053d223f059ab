"""Restore the process state that a run changes."""

from __future__ import annotations

import contextlib
import logging
import os
import random
from collections.abc import Iterator

from cait_tf.quiet import quiet_imports

#: Loggers that a run changes: ours, TensorFlow's, and the root, because TFDS calls `basicConfig`.
_LOGGERS = (None, "cait_finetune", "absl", "tensorflow")
_KERAS_SEEDS = ("global_random_seed", "global_seed_generator")


@contextlib.contextmanager
def restored_logging() -> Iterator[None]:
    """Restore the environment, and the handlers and levels of loggers, when the block ends."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [(list(one.handlers), one.level, one.propagate) for one in loggers]
    environment = dict(os.environ)
    try:
        yield
    finally:
        for one, (handlers, level, propagate) in zip(loggers, before, strict=True):
            one.handlers[:] = handlers
            one.setLevel(level)
            one.propagate = propagate
        os.environ.clear()
        os.environ.update(environment)


@contextlib.contextmanager
def restored_process_state() -> Iterator[None]:
    """Restore logging, random states and TensorFlow options when the block ends.

    The block restores everything that `restored_logging` restores. It also restores the random
    states of Python, NumPy, Keras and TensorFlow, and the settings of fused and deterministic
    operations. TensorFlow cannot change its number of threads later. Therefore only commands set
    the number of threads.
    """
    with restored_logging():
        with quiet_imports():
            import numpy as np
            import tensorflow as tf
            from keras.src.backend.common import global_state
            from tensorflow.python.framework import (
                config as tf_config,  # the public module has no getter
            )

            from cait_tf.fused import fused_enabled, use_fused

        python, numpy = random.getstate(), np.random.get_state()
        keras_seeds = {name: global_state.get_global_attribute(name) for name in _KERAS_SEEDS}
        tensorflow_seed = tf.compat.v1.random.get_seed(None)[0]
        fused = fused_enabled()
        was_deterministic = tf_config.is_op_determinism_enabled()
        try:
            yield
        finally:
            use_fused(fused)
            random.setstate(python)
            np.random.set_state(numpy)
            tf.random.set_seed(tensorflow_seed)
            for name, value in keras_seeds.items():
                global_state.set_global_attribute(name, value)
            if not was_deterministic and tf_config.is_op_determinism_enabled():
                tf_config.disable_op_determinism()
