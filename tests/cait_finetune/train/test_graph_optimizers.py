import numpy as np
import pytest
import tensorflow as tf

from cait_finetune.optim.adamw import AdamW
from cait_finetune.optim.parameters import parameter_table
from cait_finetune.train import graph_optimizers
from cait_finetune.train.graph_optimizers import as_traced
from cait_finetune.train.step import TrainStep
from tests.cait_finetune.tiny import batch, one_device, optimizer_config, snapshot, tiny_model


def off():
    return tf.config.optimizer.get_experimental_options().get("disable_meta_optimizer", False)


@pytest.fixture
def restored():
    """The option as it was, whatever a test does."""
    before = off()
    yield
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": before})


def test_off_in_there_alone(restored):
    assert not off()
    with as_traced():
        assert off()
    assert not off()


def test_on_again_after_an_error(restored):
    with pytest.raises(ZeroDivisionError), as_traced():
        raise ZeroDivisionError
    assert not off()


def test_who_has_left_them_out_has_them_left_out_afterwards(restored):
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    with as_traced():
        assert off()
    assert off()


def test_accelerators_have_them(restored, monkeypatch):
    monkeypatch.setattr(graph_optimizers, "cpu_alone", lambda: False)
    with as_traced():
        assert not off()


class Watched(AdamW):
    """Keeps whether the graph optimizers were off when its update was traced."""

    def apply(self, gradients, learning_rate):
        self.off = off()
        super().apply(gradients, learning_rate)


def stepped(rewritten, monkeypatch):
    """A model and its optimizer after two steps over parts of a batch."""
    monkeypatch.setattr(graph_optimizers, "cpu_alone", lambda: not rewritten)
    strategy = one_device()
    with strategy.scope():
        model = tiny_model(depth=2, depth_token_only=1)
        optimizer = Watched(parameter_table(model, "full", 0.75, 0.05), optimizer_config())
        step = TrainStep(model, optimizer, strategy, clip_norm=1.0, accumulation=2)
    for _ in range(2):
        step(*batch(), 1e-2)
    return model, optimizer


def test_a_step_as_traced_is_the_one_that_is_rewritten(restored, monkeypatch):
    before = snapshot(tiny_model(depth=2, depth_token_only=1))
    (traced, optimizer), (rewritten, other) = (
        stepped(rewritten, monkeypatch) for rewritten in (False, True)
    )
    assert (optimizer.off, other.off) == (True, False)
    expected = snapshot(rewritten)
    for path, got in snapshot(traced).items():
        np.testing.assert_allclose(got, expected[path], rtol=1e-4, atol=2e-5, err_msg=path)
    assert max(np.abs(expected[path] - before[path]).max() for path in before) > 1e-2
