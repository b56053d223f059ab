import contextlib

import numpy as np
import pytest
import tensorflow as tf

from cait_finetune.optim.adamw import AdamW
from cait_finetune.optim.parameters import parameter_table
from cait_finetune.runtime import grappler as graph_optimizers
from cait_finetune.runtime import tuning
from cait_finetune.runtime.grappler import REWRITING, grappler_prune_only
from cait_finetune.train.step import TrainStep
from tests.cait_finetune.tiny import batch, one_device, optimizer_config, snapshot, tiny_model


def options():
    return tf.config.optimizer.get_experimental_options()


@pytest.fixture
def restored(monkeypatch):
    """Pretend that the machine has only a CPU, and restore the Grappler options after the test."""
    monkeypatch.setattr(graph_optimizers, "cpu_alone", lambda: True)
    before = options()
    yield
    tf.config.optimizer.set_experimental_options(dict.fromkeys(options()) | before)


def test_rewriting_passes_are_off_inside_the_block_only(restored):
    before = options()
    with grappler_prune_only():
        assert not any(options()[name] for name in REWRITING)
    assert options() == before


def test_on_again_after_an_error(restored):
    before = options()
    with pytest.raises(ZeroDivisionError), grappler_prune_only():
        raise ZeroDivisionError
    assert options() == before


def test_options_that_the_user_set_stay(restored):
    chosen = {"remapping": True, "constant_folding": False}
    tf.config.optimizer.set_experimental_options(chosen)
    before = options()
    with grappler_prune_only():
        assert (options()["remapping"], options()["layout_optimizer"]) == (True, False)
    assert options() == before


def test_accelerators_keep_the_rewriting_passes(restored, monkeypatch):
    monkeypatch.setattr(graph_optimizers, "cpu_alone", lambda: False)
    before = options()
    with grappler_prune_only():
        assert options() == before


def stepped(rewritten, monkeypatch):
    """Take two steps of two micro-batches each.

    Returns:
        The model, and for each step whether Grappler's layout optimizer was on.
    """
    optimized = []

    @contextlib.contextmanager
    def watched():
        with grappler_prune_only():
            optimized.append(options().get("layout_optimizer", True))
            yield

    monkeypatch.setattr(tuning, "grappler_prune_only", watched)
    monkeypatch.setattr(graph_optimizers, "cpu_alone", lambda: not rewritten)
    strategy = one_device()
    with strategy.scope():
        model = tiny_model(depth=2, depth_token_only=1)
        # The gradient of the key bias is only rounding noise, which a small epsilon would amplify.
        config = optimizer_config(epsilon=1e-4)
        optimizer = AdamW(parameter_table(model, "full", 0.75, 0.05), config)
        step = TrainStep(model, optimizer, strategy, clip_norm=1.0, accumulation=2)
    for _ in range(2):
        step(*batch(), 1e-2)
    return model, optimized


@pytest.mark.slow
def test_a_pruned_step_is_the_one_that_is_rewritten(restored, monkeypatch):
    before = snapshot(tiny_model(depth=2, depth_token_only=1))
    pruned, optimized = stepped(False, monkeypatch)
    # Every call needs the options, not only the tracing: TensorFlow caches a function per options.
    assert optimized == [False, False]
    rewritten, optimized = stepped(True, monkeypatch)
    assert optimized == [True, True]
    expected = snapshot(rewritten)
    for path, got in snapshot(pruned).items():
        np.testing.assert_allclose(got, expected[path], rtol=1e-4, atol=2e-5, err_msg=path)
    assert max(np.abs(expected[path] - before[path]).max() for path in before) > 1e-2
