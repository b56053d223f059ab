import gc

import tensorflow as tf

from cait_finetune.cli.compose import configure
from cait_finetune.runtime import tuning
from cait_tf import get_variant


def test_a_call_leaves_the_process_as_it_was():
    seen = []

    @tf.function(autograph=False)
    def traced(value):
        seen.append((gc.isenabled(), tf.config.optimizer.get_experimental_options()))
        return value + 1

    before = tf.config.optimizer.get_experimental_options()
    with tuning.tuned_call(traced):
        assert traced(tf.constant(1)) == 2
    [(collected, options)] = seen
    assert not collected
    assert options["layout_optimizer"] is False  # because the machine has no GPU
    assert gc.isenabled()
    assert tf.config.optimizer.get_experimental_options() == before


def test_memory_is_trimmed_only_after_a_trace(monkeypatch):
    trims = []
    monkeypatch.setattr(tuning, "malloc_trim", lambda: trims.append(1))
    traced = tf.function(lambda value: value + 1, autograph=False)
    for value in (1, 2, 1.0):  # the float causes a second trace
        with tuning.tuned_call(traced):
            traced(tf.constant(value))
    assert len(trims) == 2


def test_the_threads_follow_the_configuration(monkeypatch):
    monkeypatch.setattr(
        "cait_finetune.runtime.threads.single_threaded_ops", lambda parts: parts > 1
    )
    variant = get_variant("cait_nano_32")
    assert tuning.configure_process(configure("train.batch_size=64"), variant)
    assert not tuning.configure_process(configure("train.jit_compile=true"), variant)
