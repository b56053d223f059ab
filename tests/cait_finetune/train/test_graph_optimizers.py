import numpy as np
import pytest
import tensorflow as tf

from cait_finetune.optim.adamw import AdamW
from cait_finetune.optim.parameters import parameter_table
from cait_finetune.train import graph_optimizers
from cait_finetune.train.graph_optimizers import REWRITING, only_pruned
from cait_finetune.train.step import TrainStep
from tests.cait_finetune.tiny import batch, one_device, optimizer_config, snapshot, tiny_model


def options():
    return tf.config.optimizer.get_experimental_options()


@pytest.fixture
def restored():
    """The options as they were, whatever a test does."""
    before = options()
    yield
    tf.config.optimizer.set_experimental_options(dict.fromkeys(options()) | before)


def test_off_in_there_alone(restored):
    before = options()
    with only_pruned():
        assert not any(options()[name] for name in REWRITING)
    assert options() == before


def test_on_again_after_an_error(restored):
    before = options()
    with pytest.raises(ZeroDivisionError), only_pruned():
        raise ZeroDivisionError
    assert options() == before


def test_what_the_user_has_chosen_stays(restored):
    chosen = {"remapping": True, "constant_folding": False}
    tf.config.optimizer.set_experimental_options(chosen)
    before = options()
    with only_pruned():
        assert (options()["remapping"], options()["layout_optimizer"]) == (True, False)
    assert options() == before


def test_accelerators_have_them(restored, monkeypatch):
    monkeypatch.setattr(graph_optimizers, "cpu_alone", lambda: False)
    before = options()
    with only_pruned():
        assert options() == before


class Watched(AdamW):
    """Keeps whether layouts were to be optimized when its update was traced."""

    def apply(self, gradients, learning_rate):
        self.off = options().get("layout_optimizer") is False
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
