"""Compare each optimizer with Keras' or its paper, and check the rules for all optimizers."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cait_finetune.errors import UserError
from cait_finetune.optim.build import OPTIMIZERS, build_optimizer
from cait_finetune.optim.parameters import Parameter
from tests.cait_finetune.stand_ins import checked
from tests.cait_finetune.tiny import optimizer_config

SHAPES = {"kernel": (5, 3), "bias": (3,), "other": (2, 2, 4)}
NAMES = sorted(OPTIMIZERS)


def table(multipliers=(1.0, 1.0, 1.0), decays=(0.0, 0.0, 0.0), trainable=(True, True, True)):
    rng = np.random.default_rng(0)
    rows = []
    for (path, shape), multiplier, decay, trained in zip(
        SHAPES.items(), multipliers, decays, trainable, strict=True
    ):
        variable = keras.Variable(rng.normal(size=shape).astype("float32"), name=path)
        rows.append(Parameter(path, shape, 0, multiplier, decay, trained, variable))
    return rows


def gradients(number: int) -> list[tf.Tensor]:
    rng = np.random.default_rng(100 + number)
    return [tf.constant(rng.normal(size=shape).astype("float32")) for shape in SHAPES.values()]


def make(name, rows, **changes):
    return build_optimizer(rows, optimizer_config(name=name, **changes))


def run(optimizer, numbers, rate=1e-2, jit_compile=None):
    step = tf.function(optimizer.apply, jit_compile=jit_compile)
    for number in numbers:
        given = [g for g, used in zip(gradients(number), (True,) * 3, strict=True) if used]
        step(given[: len(optimizer.rows)], tf.constant(rate))
    return [row.variable.numpy() for row in optimizer.rows]


KERAS = {
    "adamw": lambda: keras.optimizers.Adam(1e-2, epsilon=1e-8),
    "sgd": lambda: keras.optimizers.SGD(1e-2, momentum=0.9),
    "lamb": lambda: keras.optimizers.Lamb(1e-2, epsilon=1e-8),
    "lion": lambda: keras.optimizers.Lion(1e-2, beta_1=0.9, beta_2=0.999),
}


@pytest.mark.parametrize("name", sorted(KERAS))
def test_four_updates_are_those_of_keras(name):
    # Keras' LAMB scales every row by its trust ratio. Ours scales only rows that decay, so every
    # row decays a little here.
    rows = table(decays=(1e-12,) * 3 if name == "lamb" else (0.0,) * 3)
    reference = [keras.Variable(row.variable.numpy()) for row in rows]
    theirs = KERAS[name]()
    ours = run(make(name, rows), range(4))
    for number in range(4):
        theirs.apply(gradients(number), reference)
    for got, wanted in zip(ours, reference, strict=True):
        np.testing.assert_allclose(got, wanted.numpy(), rtol=0, atol=2e-6)
    moved = max(np.abs(a - b.variable.numpy()).max() for a, b in zip(ours, table(), strict=True))
    assert moved > 1e-3


def test_nesterov_is_keras_too():
    rows = table()
    reference = [keras.Variable(row.variable.numpy()) for row in rows]
    theirs = keras.optimizers.SGD(1e-2, momentum=0.9, nesterov=True)
    ours = run(make("sgd", rows, nesterov=True), range(3))
    for number in range(3):
        theirs.apply(gradients(number), reference)
    for got, wanted in zip(ours, reference, strict=True):
        np.testing.assert_allclose(got, wanted.numpy(), atol=1e-6)


def test_sgds_weight_decay_is_torchs():
    rows = table(decays=(0.1, 0.0, 0.0))
    w, m = rows[0].variable.numpy().astype("float64"), 0.0
    got = run(make("sgd", rows), range(3))
    for number in range(3):
        m = 0.9 * m + gradients(number)[0].numpy() + 0.1 * w
        w = w - 1e-2 * m
    np.testing.assert_allclose(got[0], w, atol=1e-6)


def test_lambs_trust_ratio_is_the_papers():
    rows = table(decays=(0.1, 0.0, 0.1))
    rows[2].variable.assign(np.zeros(SHAPES["other"]))  # zero weights have no trust ratio
    start = [row.variable.numpy().astype("float64") for row in rows]
    got = run(make("lamb", rows), [0])
    for number, (w, g) in enumerate(zip(start, gradients(0), strict=True)):
        g = g.numpy().astype("float64")
        step = g / (np.abs(g) + 1e-8)  # Adam's first step
        if number == 0:
            step = step + 0.1 * w
            step = step * np.linalg.norm(w) / np.linalg.norm(step)
        np.testing.assert_allclose(got[number], w - 1e-2 * step, atol=1e-6)


@pytest.mark.parametrize("name", ["lion", "schedule_free"])
def test_decoupled_decay_is_the_papers(name):
    rows = table(decays=(0.5, 0.0, 0.0))
    start = rows[0].variable.numpy().astype("float64")
    plain = run(make(name, table()), [0])[0]
    decayed = run(make(name, rows), [0])[0]
    np.testing.assert_allclose(decayed, plain - 1e-2 * 0.5 * start, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_the_multiplier_scales_the_update(name):
    start = [row.variable.numpy() for row in table()]
    plain = run(make(name, table(decays=(0.1, 0.0, 0.0))), [0])
    scaled = run(make(name, table((0.5, 0.25, 0.0), decays=(0.1, 0.0, 0.0))), [0])
    for before, one, other, factor in zip(start, plain, scaled, (0.5, 0.25, 0.0), strict=True):
        np.testing.assert_allclose(other - before, factor * (one - before), atol=1e-6)


def test_rows_of_one_multiplier_share_its_rate():
    optimizer = make("adamw", table(multipliers=(0.5, 0.25, 0.5)))
    apply = tf.function(lambda rate: optimizer.apply(gradients(0), rate), autograph=False)
    graph = apply.get_concrete_function(tf.TensorSpec([], tf.float32)).graph
    assert len(graph.inputs[0].consumers()) == 2


@pytest.mark.parametrize("name", NAMES)
def test_weight_decay_acts_on_the_rows_that_have_it_alone(name):
    plain = run(make(name, table()), [0])
    some = run(make(name, table(decays=(0.3, 0.0, 0.0))), [0])
    assert np.abs(some[0] - plain[0]).max() > 1e-5
    np.testing.assert_array_equal(some[1], plain[1])
    np.testing.assert_array_equal(some[2], plain[2])


@pytest.mark.parametrize("name", NAMES)
def test_frozen_rows_have_no_slots_and_do_not_move(name):
    rows = table(trainable=(True, False, False))
    optimizer = make(name, rows)
    assert [variable.shape for variable in optimizer.variables] == [(5, 3)]
    assert {key.split("/")[0] for key in optimizer.state} == {"step", "kernel"}
    before = [row.variable.numpy() for row in rows]
    run(optimizer, [0, 1])
    assert np.abs(rows[0].variable.numpy() - before[0]).max() > 1e-4
    for row, value in zip(rows[1:], before[1:], strict=True):
        np.testing.assert_array_equal(row.variable.numpy(), value)


@pytest.mark.parametrize("name", NAMES)
def test_state_and_weights_are_all_there_is(name):
    rows = table(decays=(0.1, 0.0, 0.1))
    optimizer = make(name, rows)
    half = run(optimizer, range(3))
    state = {key: value.numpy() for key, value in optimizer.state.items()}
    whole = run(optimizer, range(3, 5))

    fresh_rows = table(decays=(0.1, 0.0, 0.1))
    fresh = make(name, fresh_rows)
    for row, value in zip(fresh_rows, half, strict=True):
        row.variable.assign(value)
    assert fresh.state.keys() == state.keys()
    for key, variable in fresh.state.items():
        variable.assign(state[key])
    for got, wanted in zip(run(fresh, range(3, 5)), whole, strict=True):
        np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("name", NAMES)
def test_compiled_by_xla_it_is_the_same(name):
    decays = (0.1, 0.0, 0.1)
    plain = run(make(name, table(decays=decays)), range(3))
    compiled = run(make(name, table(decays=decays)), range(3), jit_compile=True)
    for got, wanted in zip(compiled, plain, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("sgd", "momentum", 0.5),
        ("sgd", "nesterov", True),
        *((name, "beta_1", 0.5) for name in NAMES if name not in ("sgd", "lion")),
        ("lion", "beta_1", 0.9999),  # m is small at first; only a beta_1 near 1 lets it decide
        *((name, "beta_2", 0.5) for name in NAMES if name != "sgd"),
        *((name, "epsilon", 0.1) for name in ("adamw", "lamb", "schedule_free")),
    ],
)
def test_every_key_changes_the_weights(name, key, value):
    usual = run(make(name, table()), range(4))
    other = run(make(name, table(), **{key: value}), range(4))
    assert np.abs(other[0] - usual[0]).max() > 1e-4


def test_schedule_free_is_the_papers():
    rows = table(decays=(0.2, 0.0, 0.0))
    y = rows[0].variable.numpy().astype("float64")
    x, z, v = y.copy(), y.copy(), 0.0
    for t in range(1, 6):
        g = gradients(t - 1)[0].numpy().astype("float64")
        v = 0.999 * v + 0.001 * g * g
        z = z - 1e-2 * (g / (np.sqrt(v / (1 - 0.999**t)) + 1e-8) + 0.2 * y)
        x = (1 - 1 / t) * x + z / t
        y = 0.1 * z + 0.9 * x
    optimizer = make("schedule_free", rows)
    np.testing.assert_allclose(run(optimizer, range(5))[0], y, atol=2e-6)
    np.testing.assert_allclose(optimizer.evaluation_values()[0], x, atol=2e-6)


def test_schedule_free_evaluates_the_mean_of_all_z():
    rows = table()
    optimizer = make("schedule_free", rows)
    seen = []
    for number in range(5):
        run(optimizer, [number])
        seen.append(optimizer.state["kernel/z"].numpy())
    x = optimizer.evaluation_values()[0].numpy()
    np.testing.assert_allclose(x, np.mean(seen, axis=0), atol=1e-5)
    y = rows[0].variable.numpy()
    np.testing.assert_allclose(y, 0.1 * seen[-1] + 0.9 * x, atol=1e-6)
    assert make("adamw", table()).evaluation_values() is None


@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_composes(name):
    config = checked(f"optimizer={name}", "model=cait_s24_224").optimizer
    assert config.name == name
    assert isinstance(build_optimizer(table(), config), OPTIMIZERS[name])


def test_an_unknown_name_is_answered_with_a_near_one():
    with pytest.raises(UserError, match=r"optimizer\.name: got 'adam', ") as error:
        optimizer_config(name="adam")
    assert "schedule_free" in str(error.value)
    assert "did you mean adamw?" in str(error.value)


@pytest.mark.parametrize(
    "changes", [{"momentum": 1.0}, {"lr_batch_size": 0}, {"name": "schedule_free", "beta_1": 0.0}]
)
def test_values_out_of_range_are_refused(changes):
    key = list(changes)[-1]
    with pytest.raises(UserError, match=rf"optimizer\.{key}: got"):
        optimizer_config(**changes)
