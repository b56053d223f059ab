"""A run restores the process state of the program that calls it."""

from __future__ import annotations

import logging
import os
import random

import keras
import numpy as np
import tensorflow as tf

from cait_finetune.runtime.process_state import restored_logging, restored_process_state


def drawn() -> list[float]:
    return [
        random.random(),
        float(np.random.rand()),
        float(tf.random.uniform(())),
        float(keras.random.uniform(())),
    ]


def a_run() -> None:
    keras.utils.set_random_seed(0)
    drawn()
    tf.config.experimental.enable_op_determinism()
    os.environ["TF_CONFIG"] = "{}"
    ours = logging.getLogger("cait_finetune")
    ours.handlers, ours.propagate = [logging.NullHandler()], False


def test_numbers_log_environment_and_determinism_are_as_before(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    ours = logging.getLogger("cait_finetune")
    keras.utils.set_random_seed(7)
    expected = drawn()
    keras.utils.set_random_seed(7)
    before = ours.handlers, ours.propagate
    with restored_process_state():
        a_run()
    assert drawn() == expected
    assert (ours.handlers, ours.propagate) == before
    assert "TF_CONFIG" not in os.environ
    from tensorflow.python.framework import config

    assert not config.is_op_determinism_enabled()


def test_the_programs_own_log_is_as_before():
    """TFDS calls `logging.basicConfig`. It does nothing if the root logger already has a handler."""
    loggers = [logging.getLogger(name) for name in (None, "absl", "tensorflow")]

    def state():
        return [(list(one.handlers), one.level) for one in loggers]

    before = state()
    with restored_logging():
        os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
        for one in loggers:
            one.addHandler(logging.NullHandler())
            one.setLevel(logging.CRITICAL)
        assert state() != before
    assert state() == before
