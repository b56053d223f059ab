"""What a run changes of the whole process, given back to the program that called it."""

from __future__ import annotations

import contextlib
import logging
import os
import random
from collections.abc import Iterator


@contextlib.contextmanager
def restored_process_state() -> Iterator[None]:
    """Inside, a run may seed, log, and set TensorFlow as it likes; afterwards all is as before.

    That is whether operations are fused, the random numbers of Python, NumPy, Keras and TensorFlow, deterministic operations, the
    handlers of our log, and the environment. TensorFlow has no way to give back the number of its
    threads, which therefore only the commands set.
    """
    import numpy as np
    import tensorflow as tf
    from keras.src.backend.common import global_state
    from tensorflow.python.framework import config as tf_config  # the public module cannot look

    from cait_tf.fused import fused_enabled, use_fused

    ours = logging.getLogger("cait_finetune")
    log = ours.handlers, ours.propagate
    environment = dict(os.environ)
    python, numpy = random.getstate(), np.random.get_state()
    keras_seeds = {name: global_state.get_global_attribute(name) for name in _KERAS_SEEDS}
    tensorflow_seed = tf.compat.v1.random.get_seed(None)[0]
    fused = fused_enabled()
    was_deterministic = tf_config.is_op_determinism_enabled()
    try:
        yield
    finally:
        ours.handlers, ours.propagate = log
        os.environ.clear()
        os.environ.update(environment)
        use_fused(fused)
        random.setstate(python)
        np.random.set_state(numpy)
        tf.random.set_seed(tensorflow_seed)
        for name, value in keras_seeds.items():
            global_state.set_global_attribute(name, value)
        if not was_deterministic and tf_config.is_op_determinism_enabled():
            tf_config.disable_op_determinism()


_KERAS_SEEDS = ("global_random_seed", "global_seed_generator")
