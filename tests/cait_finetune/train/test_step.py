import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from cait_finetune.optim.adamw import AdamW
from cait_finetune.optim.parameters import parameter_table
from cait_finetune.train.loss import cross_entropy
from cait_finetune.train.loss_scale import LossScale
from cait_finetune.train.step import TrainStep
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

REPOSITORY = Path(__file__).parents[3]


class Recorder(AdamW):
    """An optimizer that keeps the gradients it is given and moves nothing."""

    def __init__(self, model):
        config = optimizer_config()
        super().__init__(parameter_table(model, "full", 1.0, 0.0), config)
        self.seen = [tf.Variable(tf.zeros(row.shape)) for row in self.rows]

    def apply(self, gradients, learning_rate):
        for seen, gradient in zip(self.seen, gradients, strict=True):
            seen.assign(gradient)

    def arrays(self):
        return [seen.numpy() for seen in self.seen]


def global_norm(arrays):
    return np.sqrt(sum(np.square(array, dtype=np.float64).sum() for array in arrays))


@pytest.fixture(scope="module")
def clipped():
    """Gradients that reach the optimizer, and the figures, for each clipping norm."""
    strategy = one_device()
    with strategy.scope():
        model = tiny_model(depth=1, depth_token_only=1)
    images, labels = batch()
    result = {}
    for norm in (0.0, 0.1, 1e6):
        with strategy.scope():
            recorder = Recorder(model)
            step = TrainStep(model, recorder, strategy, clip_norm=norm)
        figures = step(images, labels, tf.constant(1e-3))
        result[norm] = recorder.arrays(), {key: float(value) for key, value in figures.items()}
    return model, images, labels, result


def test_the_global_norm_after_clipping_is_the_limit(clipped):
    *_, result = clipped
    plain, figures = result[0.0]
    assert global_norm(plain) > 0.2  # else nothing is tested
    cut, cut_figures = result[0.1]
    assert global_norm(cut) == pytest.approx(0.1, rel=1e-5)
    assert cut_figures["grad_norm"] == pytest.approx(global_norm(plain), rel=1e-4)
    assert cut_figures["grad_norm"] == pytest.approx(figures["grad_norm"], rel=1e-5)


def test_clipping_scales_every_gradient_alike(clipped):
    *_, result = clipped
    plain, cut = result[0.0][0], result[0.1][0]
    factor = 0.1 / global_norm(plain)
    for a, b in zip(plain, cut, strict=True):
        np.testing.assert_allclose(b, a * factor, rtol=1e-3, atol=1e-7)


def test_a_gradient_below_the_limit_is_left_alone(clipped):
    *_, result = clipped
    for a, b in zip(result[0.0][0], result[1e6][0], strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-3, atol=1e-7)


def test_the_gradient_is_that_of_the_mean_loss(clipped):
    model, images, labels, result = clipped
    variables = [variable.value for variable in model.weights]
    with tf.GradientTape() as tape:
        logits = model(images, training=True)
        loss = tf.reduce_mean(cross_entropy(labels, logits))
    plain, figures = result[0.0]
    for ours, expected in zip(plain, tape.gradient(loss, variables), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-6)
    assert figures["loss"] == pytest.approx(float(loss), rel=1e-5)
    assert figures["correct"] == (logits.numpy().argmax(-1) == labels.numpy()).sum()
    assert figures["finite"] == 1


def test_the_clipped_update_is_that_of_the_scaled_gradient():
    # A large epsilon: with a small one Adam's first step does not depend on the gradient's size.
    config = optimizer_config(epsilon=1e-2)
    images = tf.constant(np.load(GOLDEN / "forward.npz")["images_nhwc"])
    labels = tf.constant([3, 0, 6, 3], tf.int64)
    strategy = one_device()
    with strategy.scope():
        model = golden_model()
        before = snapshot(model)
        optimizer = AdamW(parameter_table(model, "full", 0.75, 0.05), config)
        step = TrainStep(model, optimizer, strategy, clip_norm=0.25)
    step(images, labels, tf.constant(1e-2))
    got = snapshot(model)

    model = golden_model()
    optimizer = AdamW(parameter_table(model, "full", 0.75, 0.05), config)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(cross_entropy(labels, model(images, training=True)))
    gradients = tape.gradient(loss, optimizer.variables)
    norm = tf.linalg.global_norm(gradients)
    assert float(norm) > 1
    optimizer.apply([gradient * (0.25 / norm) for gradient in gradients], tf.constant(1e-2))
    for path, expected in snapshot(model).items():
        np.testing.assert_allclose(got[path], expected, rtol=0, atol=1e-6, err_msg=path)
        if not path.endswith(NO_GRADIENT):
            assert np.abs(expected - before[path]).max() > 1e-6, path


def make_step(model, strategy, precision, method="full", **changes):
    table = parameter_table(model, method, 0.75, 0.05)
    optimizer = AdamW(table, optimizer_config(**changes))
    loss_scale = LossScale() if precision == "mixed_float16" else None
    return TrainStep(model, optimizer, strategy, 0.1, 1.0, loss_scale), optimizer, loss_scale


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_a_few_steps_learn_a_batch(precision):
    strategy = one_device()
    with strategy.scope():
        model = tiny_model(dtype=precision)
        step, _, _ = make_step(model, strategy, precision)
    images, labels = batch()
    figures = [step(images, labels, tf.constant(3e-3)) for _ in range(20)]
    losses = [float(one["loss"]) for one in figures]
    assert losses[0] == pytest.approx(np.log(7), abs=0.3)
    assert losses[-1] < losses[0] - 0.5
    assert int(figures[-1]["correct"]) > int(figures[0]["correct"])
    assert all(variable.dtype == "float32" for variable in model.weights)


def test_float16_skips_what_overflows_then_learns():
    strategy = one_device()
    with strategy.scope():
        model = tiny_model(dtype="mixed_float16")
        step, optimizer, loss_scale = make_step(model, strategy, "mixed_float16")
    images, labels = batch()
    loss_scale.scale.assign(2.0**24)  # far beyond float16's 65504
    before = snapshot(model)

    figures = step(images, labels, tf.constant(3e-3))

    assert float(figures["finite"]) == 0
    assert np.isfinite(float(figures["loss"]))  # the loss itself is not scaled
    assert float(loss_scale.scale) == 2.0**23
    assert int(loss_scale.good_steps) == 0
    assert int(optimizer.step) == 0
    for path, value in snapshot(model).items():
        assert value.tobytes() == before[path].tobytes(), path
    for slot in (*optimizer.first, *optimizer.second):
        assert not np.any(slot.numpy())

    loss_scale.scale.assign(2.0**12)
    figures = [step(images, labels, tf.constant(3e-3)) for _ in range(20)]
    losses = [float(one["loss"]) for one in figures]
    assert all(float(one["finite"]) == 1 for one in figures)
    assert losses[-1] < losses[0] - 0.5
    assert int(optimizer.step) == int(loss_scale.good_steps) == 20
    assert float(loss_scale.scale) == 2.0**12


def test_the_loss_scale_is_taken_out_of_the_gradient():
    # In float32 a scale changes nothing but rounding, powers of two not even that.
    strategy = one_device()
    images, labels = batch()
    norms = []
    for loss_scale in (None, LossScale()):
        with strategy.scope():
            model = tiny_model(depth=1, depth_token_only=1)
            recorder = Recorder(model)
            step = TrainStep(model, recorder, strategy, loss_scale=loss_scale)
        figures = step(images, labels, tf.constant(1e-3))
        norms.append((float(figures["grad_norm"]), global_norm(recorder.arrays())))
    assert norms[1] == pytest.approx(norms[0], rel=1e-5)


TWO_REPLICAS = """
import json, sys
import numpy as np
import tensorflow as tf

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)

from cait_finetune.optim.adamw import AdamW
from cait_finetune.optim.parameters import parameter_table
from cait_finetune.train.step import TrainStep
from tests.cait_finetune.tiny import batch, optimizer_config, snapshot, tiny_model


def three_steps(strategy):
    with strategy.scope():
        model = tiny_model(depth=1, depth_token_only=1)
        table = parameter_table(model, "full", 0.75, 0.05)
        # Epsilon above the rounding noise of gradients that are zero.
        optimizer = AdamW(table, optimizer_config(epsilon=1e-4))
        step = TrainStep(model, optimizer, strategy, label_smoothing=0.1, clip_norm=0.5)
    before = snapshot(model)
    replicas = strategy.num_replicas_in_sync
    figures = []
    for seed in range(3):
        images, labels = batch(8, seed)
        share = 8 // replicas

        def part(array, share=share):
            return strategy.experimental_distribute_values_from_function(
                lambda context: array[context.replica_id_in_sync_group * share:][:share]
            )

        one = step(part(images), part(labels), tf.constant(1e-2))
        figures.append({key: float(value) for key, value in one.items()})
    copies = [strategy.experimental_local_results(row.variable.value) for row in optimizer.rows]
    apart = max(float(np.abs(all_[0] - all_[-1]).max()) for all_ in copies)
    counts = [int(one) for one in strategy.experimental_local_results(optimizer.step)]
    return before, snapshot(model), figures, counts, apart


before, one, one_figures, one_count, _ = three_steps(tf.distribute.OneDeviceStrategy("/cpu:0"))
mirrored = tf.distribute.MirroredStrategy(["cpu:0", "cpu:1"])
start, two, two_figures, two_count, apart = three_steps(mirrored)
result = {
    "start": max(float(np.abs(before[path] - start[path]).max()) for path in before),
    "difference": max(float(np.abs(one[path] - two[path]).max()) for path in one),
    "apart": apart,
    "moved": max(float(np.abs(one[path] - before[path]).max()) for path in one),
    "figures": [one_figures, two_figures],
    "counts": [one_count, two_count],
}
print("RESULT " + json.dumps(result))
"""


def test_two_replicas_equal_one_device():
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["CUDA_VISIBLE_DEVICES"] = "-1"
    run = subprocess.run(
        [sys.executable, "-c", TWO_REPLICAS],
        capture_output=True,
        text=True,
        timeout=300,
        env=environment,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    line = next(line for line in run.stdout.splitlines() if line.startswith("RESULT "))
    result = json.loads(line.removeprefix("RESULT "))
    assert result["start"] == 0
    assert result["difference"] <= 1e-5
    assert result["apart"] == 0
    assert result["moved"] > 1e-3
    assert result["counts"] == [[3], [3, 3]]
    for one, two in zip(*result["figures"], strict=True):
        assert two == pytest.approx(one, rel=1e-4)
        assert one["grad_norm"] > 0.5  # clipped, else clipping is not tested
