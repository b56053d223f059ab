import numpy as np
import pytest
import tensorflow as tf

from cait_finetune.optim.adamw import AdamW
from cait_finetune.optim.parameters import parameter_table
from cait_finetune.train.loss import cross_entropy
from cait_finetune.train.step import TrainStep
from cait_tf.weights import names
from tests.cait_finetune.tiny import (
    GOLDEN,
    NO_GRADIENT,
    batch,
    golden_model,
    one_device,
    optimizer_config,
    snapshot,
    tiny_model,
)


def make_optimizer(model, method="full", **changes):
    config = optimizer_config(**changes)
    table = parameter_table(model, method, config.layer_decay, config.weight_decay)
    return AdamW(table, config)


def without_key_bias(name: str, array: np.ndarray) -> np.ndarray | None:
    """Return the part of a parameter that has a gradient. `None`: no part has one."""
    if name.endswith(("proj_l.bias", ".k.bias")):
        return None
    if name.endswith("qkv.bias"):
        third = len(array) // 3
        return np.concatenate([array[:third], array[2 * third :]])
    return array


@pytest.mark.slow
def test_five_steps_are_those_of_torch_adamw_with_timm_groups():
    images = np.load(GOLDEN / "forward.npz")["images_nhwc"]
    golden = np.load(GOLDEN / "adamw_layer_decay.npz")
    strategy = one_device()
    with strategy.scope():
        model = golden_model()
        step = TrainStep(model, make_optimizer(model), strategy)
    before = {names.timm_name(path): value for path, value in snapshot(model).items()}

    losses = [
        float(step(tf.constant(images), tf.constant(golden["labels"]), 1e-3)[0, 0])
        for _ in range(5)
    ]

    np.testing.assert_allclose(losses, golden["losses"], rtol=1e-4)
    compared, worst = 0, {}
    for path, after in snapshot(model).items():
        name = names.timm_name(path)
        ours = without_key_bias(name, after - before[name])
        if ours is None:
            continue
        reference = names.from_torch_layout(golden[name]) - before[name]
        reference = without_key_bias(name, reference)
        worst[name] = np.linalg.norm(ours - reference) / np.linalg.norm(reference)
        compared += 1
    assert {name: error for name, error in worst.items() if not error <= 1e-2} == {}
    assert compared == len(model.weights) - 3 - 2  # not compared: three proj_l.bias, two k.bias


@pytest.mark.parametrize("epsilon", [1e-8, 1e-2])
def test_three_updates_equal_the_textbook(epsilon):
    model = tiny_model()
    optimizer = make_optimizer(model, epsilon=epsilon)
    rng = np.random.default_rng(1)
    w = [np.array(row.variable, np.float64) for row in optimizer.rows]
    m = [np.zeros_like(x) for x in w]
    v = [np.zeros_like(x) for x in w]
    for t, rate in enumerate((1e-3, 5e-3, 2e-3), start=1):
        gradients = [rng.normal(scale=0.01, size=x.shape).astype("float32") for x in w]
        optimizer.apply([tf.constant(g) for g in gradients], tf.constant(rate))
        for i, (row, gradient) in enumerate(zip(optimizer.rows, gradients, strict=True)):
            lr = rate * row.multiplier
            m[i] = 0.9 * m[i] + 0.1 * gradient
            v[i] = 0.999 * v[i] + 0.001 * np.square(gradient, dtype=np.float64)
            w[i] = w[i] - lr * row.weight_decay * w[i]
            corrected = np.sqrt(v[i] / (1 - 0.999**t))
            w[i] = w[i] - lr * (m[i] / (1 - 0.9**t)) / (corrected + epsilon)
    assert int(optimizer.step) == 3
    for row, expected in zip(optimizer.rows, w, strict=True):
        np.testing.assert_allclose(np.array(row.variable), expected, rtol=0, atol=2e-6)


@pytest.fixture(scope="module")
def first_step():
    """Take one real step at rate 1e-2.

    Returns:
        The model, the optimizer, the weights before, the gradients and the weights after, each by path;
        the loss that the step returned, and the loss with the weights before.
    """
    strategy = one_device()
    with strategy.scope():
        model = golden_model()
        optimizer = make_optimizer(model)
        step = TrainStep(model, optimizer, strategy)
    images = tf.constant(np.load(GOLDEN / "forward.npz")["images_nhwc"])
    labels = tf.constant([3, 0, 6, 3], tf.int64)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(cross_entropy(labels, model(images, training=True)))
    gradients = tape.gradient(loss, optimizer.variables)
    gradients = {
        row.path: gradient.numpy() for row, gradient in zip(optimizer.rows, gradients, strict=True)
    }
    before = snapshot(model)
    metrics = step(images, labels, tf.constant(1e-2))
    return model, optimizer, before, gradients, snapshot(model), float(metrics[0, 0]), float(loss)


@pytest.mark.slow
def test_the_first_step_follows_the_multiplier_and_decay_of_each_row(first_step):
    _, optimizer, before, gradients, after, _, _ = first_step
    for row in optimizer.rows:
        w, g = before[row.path].astype("float64"), gradients[row.path].astype("float64")
        lr = 1e-2 * row.multiplier
        expected = -lr * row.weight_decay * w - lr * g / (np.abs(g) + 1e-8)
        moved = after[row.path].astype("float64") - w
        clear = np.abs(g) > 1e-5  # well above the gradient's rounding noise
        if not row.path.endswith(NO_GRADIENT):
            assert clear.mean() > 0.5, row.path
        rounding = 2 * np.spacing(np.abs(before[row.path]).max())
        np.testing.assert_allclose(
            moved[clear], expected[clear], rtol=2e-3, atol=rounding, err_msg=row.path
        )
        assert np.abs(moved).max() <= lr * (1 + row.weight_decay * np.abs(w).max()) * 1.001


@pytest.mark.slow
def test_the_sizes_of_the_first_step_are_the_multipliers(first_step):
    _, optimizer, before, gradients, after, _, _ = first_step
    for row in optimizer.rows:
        clear = np.abs(gradients[row.path]) > 1e-4
        if row.weight_decay or not clear.any():
            continue
        size = np.median(np.abs(after[row.path] - before[row.path])[clear])
        assert size == pytest.approx(1e-2 * row.multiplier, rel=1e-2), row.path


@pytest.mark.slow
def test_the_loss_of_a_step_is_that_before_it(first_step):
    *_, reported, computed = first_step
    assert reported == pytest.approx(computed, rel=1e-5)


@pytest.mark.slow
def test_linear_probe_leaves_every_frozen_variable_as_it_was():
    strategy = one_device()
    with strategy.scope():
        model = tiny_model()
        optimizer = make_optimizer(model, "linear_probe")
        step = TrainStep(model, optimizer, strategy)
    before = snapshot(model)
    images, labels = batch()
    for _ in range(2):
        step(images, labels, tf.constant(1e-2))
    changed = {
        names.timm_name(path)
        for path, value in snapshot(model).items()
        if value.tobytes() != before[path].tobytes()
    }
    assert changed == {"head.weight", "head.bias"}
    assert len(optimizer.rows) == 2


def test_a_rate_of_zero_moves_nothing():
    model = tiny_model()
    optimizer = make_optimizer(model)
    before = snapshot(model)
    optimizer.apply([tf.ones(row.shape) for row in optimizer.rows], tf.constant(0.0))
    for path, value in snapshot(model).items():
        assert value.tobytes() == before[path].tobytes()


def test_weight_decay_without_a_gradient_acts_on_kernels_only():
    model = tiny_model()
    optimizer = make_optimizer(model, weight_decay=0.5)
    before = snapshot(model)
    optimizer.apply([tf.zeros(row.shape) for row in optimizer.rows], tf.constant(0.1))
    for row in optimizer.rows:
        factor = 1 - 0.1 * row.multiplier * row.weight_decay
        assert (factor < 1) == row.path.endswith("kernel")
        np.testing.assert_allclose(np.array(row.variable), before[row.path] * factor, rtol=1e-6)
