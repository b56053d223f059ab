import contextlib
import gc

import numpy as np
import pytest
import tensorflow as tf

import cait_tf
from cait_finetune.model import Head
from cait_finetune.optim.adamw import AdamW
from cait_finetune.optim.parameters import parameter_table
from cait_finetune.runtime import tuning
from cait_finetune.train import step as step_module
from cait_finetune.train.average import MovingAverage, holding
from cait_finetune.train.loss import CrossEntropy, cross_entropy
from cait_finetune.train.loss_scale import LossScale
from cait_finetune.train.step import STEP_METRICS, TrainStep
from cait_tf.fused import thresholds
from cait_tf.fused.tensorflow import concurrent_micro_batches
from tests.cait_finetune.tiny import (
    CLASSES,
    NO_GRADIENT,
    batch,
    one_device,
    optimizer_config,
    snapshot,
    tiny_model,
)


class Recorder(AdamW):
    """An optimizer that records its gradients and changes no weight."""

    def __init__(self, model):
        config = optimizer_config()
        super().__init__(parameter_table(model, "full", 1.0, 0.0), config)
        self.seen = [tf.Variable(tf.zeros(row.shape)) for row in self.rows]

    def apply(self, gradients, learning_rate):
        for seen, gradient in zip(self.seen, gradients, strict=True):
            seen.assign(gradient)

    def arrays(self):
        return [seen.numpy() for seen in self.seen]


def named(metrics):
    """Return the metrics of one step, by name."""
    assert metrics.shape == (1, len(STEP_METRICS))
    return dict(zip(STEP_METRICS, metrics.numpy()[0].tolist(), strict=True))


def global_norm(arrays):
    return np.sqrt(sum(np.square(array, dtype=np.float64).sum() for array in arrays))


@pytest.fixture(scope="module")
def clipped():
    """Gradients that reach the optimizer, and the metrics, for each clipping norm."""
    strategy = one_device()
    with strategy.scope():
        model = tiny_model(depth=1, depth_token_only=1)
    images, labels = batch()
    result = {}
    for norm in (0.0, 0.1, 1e6):
        with strategy.scope():
            recorder = Recorder(model)
            step = TrainStep(model, recorder, strategy, clip_norm=norm)
        metrics = named(step(images, labels, 1e-3))
        result[norm] = recorder.arrays(), metrics
    return model, images, labels, result


def test_the_global_norm_after_clipping_is_the_limit(clipped):
    *_, result = clipped
    plain, metrics = result[0.0]
    assert global_norm(plain) > 0.2  # else clipping has no effect
    cut, cut_metrics = result[0.1]
    assert global_norm(cut) == pytest.approx(0.1, rel=1e-5)
    assert cut_metrics["grad_norm"] == pytest.approx(global_norm(plain), rel=1e-4)
    assert cut_metrics["grad_norm"] == pytest.approx(metrics["grad_norm"], rel=1e-5)


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


@pytest.mark.slow
def test_the_gradient_is_that_of_the_mean_loss(clipped):
    model, images, labels, result = clipped
    variables = [variable.value for variable in model.weights]
    with tf.GradientTape() as tape:
        logits = model(images, training=True)
        loss = tf.reduce_mean(cross_entropy(labels, logits))
    plain, metrics = result[0.0]
    for ours, expected in zip(plain, tape.gradient(loss, variables), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-6)
    assert metrics["loss"] == pytest.approx(float(loss), rel=1e-5)
    assert metrics["correct"] == (logits.numpy().argmax(-1) == labels.numpy()).sum()
    assert metrics["finite"] == 1


@pytest.mark.slow
def test_the_clipped_update_is_that_of_the_scaled_gradient():
    # With a small epsilon, Adam's first step would not depend on the gradient's size.
    config = optimizer_config(epsilon=1e-2)
    images, labels = batch()

    def large_weights():
        """With small initial kernels, some updates would be lost in rounding."""
        model = tiny_model(depth=1, depth_token_only=1)
        for weight in model.weights:
            if weight.path.endswith("kernel"):
                weight.assign(5 * weight)
        return model

    strategy = one_device()
    with strategy.scope():
        model = large_weights()
        before = snapshot(model)
        optimizer = AdamW(parameter_table(model, "full", 0.75, 0.05), config)
        step = TrainStep(model, optimizer, strategy, clip_norm=0.25)
    step(images, labels, 1e-2)
    got = snapshot(model)

    model = large_weights()
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
    return (
        TrainStep(model, optimizer, strategy, CrossEntropy(0.1), 1.0, loss_scale),
        optimizer,
        loss_scale,
    )


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16"])
def test_a_few_steps_learn_a_batch(precision):
    strategy = one_device()
    with strategy.scope():
        model = tiny_model(depth=1, depth_token_only=1, dtype=precision)
        step, _, _ = make_step(model, strategy, precision)
    images, labels = batch()
    metrics = [named(step(images, labels, 3e-3)) for _ in range(20)]
    losses = [float(one["loss"]) for one in metrics]
    assert losses[0] == pytest.approx(np.log(7), abs=0.3)
    assert losses[-1] < losses[0] - 0.5
    assert int(metrics[-1]["correct"]) > int(metrics[0]["correct"])
    assert all(variable.dtype == "float32" for variable in model.weights)


@pytest.mark.slow
def test_float16_skips_what_overflows_then_learns():
    strategy = one_device()
    with strategy.scope():
        model = tiny_model(depth=1, depth_token_only=1, dtype="mixed_float16")
        step, optimizer, loss_scale = make_step(model, strategy, "mixed_float16")
    images, labels = batch()
    loss_scale.scale.assign(2.0**24)  # far beyond float16's 65504
    before = snapshot(model)

    metrics = named(step(images, labels, 3e-3))

    assert float(metrics["finite"]) == 0
    assert np.isfinite(float(metrics["loss"]))  # the loss itself is not scaled
    assert float(loss_scale.scale) == 2.0**23
    assert int(loss_scale.good_steps) == 0
    assert int(optimizer.step) == 0
    for path, value in snapshot(model).items():
        assert value.tobytes() == before[path].tobytes(), path
    for name, slot in optimizer.state.items():
        assert not np.any(slot.numpy()), name

    loss_scale.scale.assign(2.0**12)
    metrics = [named(step(images, labels, 3e-3)) for _ in range(20)]
    losses = [float(one["loss"]) for one in metrics]
    assert all(float(one["finite"]) == 1 for one in metrics)
    assert losses[-1] < losses[0] - 0.5
    assert int(optimizer.step) == int(loss_scale.good_steps) == 20
    assert float(loss_scale.scale) == 2.0**12


@pytest.mark.slow
def test_the_loss_scale_is_taken_out_of_the_gradient():
    # In float32 a loss scale changes only rounding, and a power of two changes nothing.
    strategy = one_device()
    images, labels = batch()
    norms = []
    for loss_scale in (None, LossScale()):
        with strategy.scope():
            model = tiny_model(depth=1, depth_token_only=1)
            recorder = Recorder(model)
            step = TrainStep(model, recorder, strategy, loss_scale=loss_scale)
        metrics = named(step(images, labels, 1e-3))
        norms.append((float(metrics["grad_norm"]), global_norm(recorder.arrays())))
    assert norms[1] == pytest.approx(norms[0], rel=1e-5)


@pytest.mark.slow
def test_loss_scaling_beside_accumulation_clipping_and_average():
    """Overflowing steps change no result: the run equals a run that starts at the final scale."""
    strategy = one_device()
    with strategy.scope():
        model = tiny_model(depth=1, depth_token_only=1, dtype="mixed_float16")
        table = parameter_table(model, "full", 0.75, 0.05)
        optimizer = AdamW(table, optimizer_config(epsilon=1e-4))
        average = MovingAverage(optimizer.variables, 0.9, True)
        loss_scale = LossScale()
        step = TrainStep(
            model,
            optimizer,
            strategy,
            CrossEntropy(0.1),
            0.5,
            loss_scale,
            accumulation=2,
            average=average,
        )
    everything = [*(weight.value for weight in model.weights), *step.state.values()]
    start = [variable.numpy() for variable in everything]

    def run(scale, steps):
        for variable, value in zip(everything, start, strict=True):
            variable.assign(value)
        loss_scale.scale.assign(scale)
        finite = []
        while sum(finite) < steps:
            finite.append(named(step(*batch(8, int(sum(finite))), [1e-2]))["finite"])
        averages = [value.numpy() for value in average.present()]
        return finite, float(loss_scale.scale), snapshot(model), averages

    finite, scale, weights, averages = run(2.0**26, 4)
    skipped = finite.count(0)
    assert skipped >= 2
    assert finite == [0] * skipped + [1] * 4
    assert scale == 2.0 ** (26 - skipped)
    wanted_finite, _, wanted, wanted_averages = run(scale, 4)
    assert wanted_finite == [1] * 4
    assert largest_difference(weights, wanted) == 0
    for one, other in zip(averages, wanted_averages, strict=True):
        np.testing.assert_array_equal(one, other)


def trained(steps=3, seed=(0,), model_options=None, size=8, targets=False, **options):
    """Train a tiny model; return its weights, the metrics of each step, and the `TrainStep`."""
    strategy = one_device()
    with strategy.scope():
        model = tiny_model(depth=1, depth_token_only=1, **(model_options or {}))
        # Epsilon exceeds the rounding noise of zero gradients.
        optimizer = AdamW(
            parameter_table(model, "full", 0.75, 0.05), optimizer_config(epsilon=1e-4)
        )
        average = options.pop("average", None)
        if average:
            average = MovingAverage(optimizer.variables, *average)
        step = TrainStep(
            model,
            optimizer,
            strategy,
            CrossEntropy(0.1),
            0.5,
            average=average,
            seed=seed,
            **options,
        )
    metrics = []
    for number in range(steps):
        images, labels = batch(size, number)
        if targets:
            labels = 0.7 * tf.one_hot(labels, 7) + 0.3 * tf.one_hot(labels[::-1], 7)
        metrics.append(step(images, labels, [1e-2]).numpy()[0])
    return snapshot(model), np.array(metrics), step


def largest_difference(one, other):
    return max(float(np.abs(one[path] - other[path]).max()) for path in one)


@pytest.fixture(scope="module")
def plain():
    """The weights and the metrics of a model that is trained without any option."""
    weights, metrics, _ = trained()
    return weights, metrics


@pytest.mark.slow
@pytest.mark.parametrize(("parts", "jit_compile"), [(2, False), (8, False), (4, True)])
def test_accumulation_equals_the_large_batch(plain, parts, jit_compile):
    whole, metrics = plain
    split, split_metrics, _ = trained(accumulation=parts, jit_compile=jit_compile)
    assert largest_difference(whole, split) <= 1e-5
    np.testing.assert_allclose(split_metrics, metrics, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="this machine has a GPU")
@pytest.mark.parametrize("jit_compile", [False, True])
def test_null_accumulation_runs_parallel_micro_batches_on_a_cpu(plain, jit_compile, monkeypatch):
    """A null accumulation uses parallel micro-batches, except with XLA, which would run in turn."""
    loops, loop = [], tf.while_loop

    def count(*inputs, **options):
        loops.append((options["maximum_iterations"], options["parallel_iterations"]))
        return loop(*inputs, **options)

    monkeypatch.setattr(tf, "while_loop", count)
    patches = (batch()[0].shape[1] // tiny_model().backbone.patch_size) ** 2
    monkeypatch.setattr(thresholds, "LEAST_PATCHES", {True: 2 * patches})
    if jit_compile:
        *_, step = trained(steps=0, accumulation=None, jit_compile=True)
        images, labels = batch()
        # Tracing is enough: without a loop, the graph is the one of a single micro-batch.
        step._run.get_concrete_function(images, labels, tf.constant([1e-2]), tf.constant(0))
        assert loops == []
        return
    trained(steps=1, accumulation=1)
    assert loops == []
    split, split_metrics, _ = trained(accumulation=None)
    assert set(loops) == {(4, concurrent_micro_batches(4))}
    whole, metrics = plain
    assert largest_difference(whole, split) <= 1e-5
    np.testing.assert_allclose(split_metrics, metrics, rtol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"jit_compile": True}, {"model_options": {"remat": True}}])
def test_hoisted_weights_change_no_result(options, monkeypatch):
    model_options = {"dtype": "mixed_bfloat16", **options.get("model_options", {})}
    options = {"accumulation": 2, **options, "model_options": model_options}
    before, metrics, _ = trained(**options)
    monkeypatch.setattr(step_module, "hoisted_weights", contextlib.nullcontext)
    each, each_metrics, _ = trained(**options)
    assert largest_difference(before, each) == 0
    np.testing.assert_array_equal(metrics, each_metrics)


@pytest.mark.slow
def test_several_steps_of_parts_in_one_call():
    """The second step hoists the weights that the first step has updated."""
    options = {"model_options": {"dtype": "mixed_bfloat16"}, "accumulation": 2}
    single, metrics, _ = trained(steps=2, **options)
    _, _, step = trained(steps=0, steps_per_call=2, **options)
    stacks = [tf.stack(part) for part in zip(*[batch(8, n) for n in range(2)], strict=True)]
    np.testing.assert_allclose(step(*stacks, [1e-2, 1e-2]), metrics, rtol=1e-6)
    assert largest_difference(single, snapshot(step._model)) <= 1e-6


@pytest.mark.slow
def test_accumulation_of_mixed_labels():
    whole, metrics, _ = trained(targets=True)
    split, split_metrics, _ = trained(targets=True, accumulation=2)
    assert largest_difference(whole, split) <= 1e-5
    np.testing.assert_allclose(split_metrics, metrics, rtol=1e-5)


@pytest.mark.slow
def test_rematerialisation_gives_the_same_gradients(plain):
    whole, metrics = plain
    again, again_metrics, _ = trained(model_options={"remat": True})
    assert largest_difference(whole, again) <= 1e-6
    np.testing.assert_allclose(again_metrics, metrics, rtol=1e-6)


@pytest.mark.slow
def test_several_steps_in_one_call(plain):
    single, metrics = plain
    strategy = one_device()
    with strategy.scope():
        model = tiny_model(depth=1, depth_token_only=1)
        optimizer = AdamW(
            parameter_table(model, "full", 0.75, 0.05), optimizer_config(epsilon=1e-4)
        )
        step = TrainStep(model, optimizer, strategy, CrossEntropy(0.1), 0.5, steps_per_call=3)
    three, two = (
        [tf.stack(part) for part in zip(*[batch(8, n) for n in numbers], strict=True)]
        for numbers in ((0, 1, 2), (1, 2))
    )
    first = step(*three, [1e-2, 1e-2])  # two steps of a stack of three
    second = step(*two, [1e-2], 1)  # the last step of a stack of two
    np.testing.assert_allclose(np.concatenate([first, second]), metrics, rtol=1e-6)
    assert largest_difference(single, snapshot(model)) <= 1e-6


@pytest.mark.slow
def test_malloc_trim_runs_once_after_tracing(monkeypatch):
    given = []
    monkeypatch.setattr(tuning, "malloc_trim", lambda: given.append(step.count.numpy()))
    strategy = one_device()
    with strategy.scope():
        model = tiny_model(depth=1, depth_token_only=1)
        step = TrainStep(model, Recorder(model), strategy)
    for _ in range(3):
        step(*batch(), 1e-3)
    assert given == [1]  # after the first step


@pytest.mark.slow
def test_the_garbage_collector_is_off_while_tracing():
    enabled = []

    class Watching(CrossEntropy):
        def __call__(self, labels, logits):
            enabled.append(gc.isenabled())
            return super().__call__(labels, logits)

    strategy = one_device()
    with strategy.scope():
        model = tiny_model(depth=1, depth_token_only=1)
        step = TrainStep(model, Recorder(model), strategy, Watching())
    step(*batch(), 1e-3)
    assert enabled == [False]
    assert gc.isenabled()


DROPS = {"drop_path_rate": 0.3, "drop_rate": 0.1}


@pytest.mark.slow
def test_draws_depend_on_seed_and_step_alone(plain):
    one, again = (trained(model_options=DROPS)[0] for _ in range(2))
    assert largest_difference(one, again) == 0
    assert largest_difference(one, trained(model_options=DROPS, seed=(1,))[0]) > 1e-4
    assert largest_difference(one, plain[0]) > 1e-4


@pytest.mark.slow
def test_a_restored_step_continues_the_random_draws():
    """Two steps, a restore into a new model and one step equal three steps, dropout included."""
    options = {"model_options": DROPS, "average": (0.9, True), "accumulation": 2}
    half, _, step = trained(steps=2, **options)
    state = {name: value.numpy() for name, value in step.state.items()}
    step(*batch(8, 2), [1e-2])
    whole = snapshot(step._model)

    _, _, fresh = trained(steps=0, **options)
    for variable in fresh._model.weights:
        variable.assign(half[variable.path])
    assert fresh.state.keys() == state.keys()
    for name, variable in fresh.state.items():
        variable.assign(state[name])
    fresh(*batch(8, 2), [1e-2])
    assert largest_difference(whole, snapshot(fresh._model)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("warmup", [False, True])
def test_the_moving_average_is_its_formula(warmup):
    strategy = one_device()
    with strategy.scope():
        model = tiny_model(depth=1, depth_token_only=1)
        optimizer = AdamW(parameter_table(model, "full", 1.0, 0.0), optimizer_config())
        average = MovingAverage(optimizer.variables, 0.9, warmup)
        step = TrainStep(model, optimizer, strategy, average=average)
    wanted = [variable.numpy() for variable in optimizer.variables]
    assert average.present() is None
    for number in range(3):
        step(*batch(8, number), [1e-2])
        decay = min(0.9, (2 + number) / (11 + number)) if warmup else 0.9
        wanted = [
            decay * old + (1 - decay) * variable.numpy()
            for old, variable in zip(wanted, optimizer.variables, strict=True)
        ]
    for value, expected in zip(average.present(), wanted, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-7)


def test_a_plain_average_is_the_mean_and_holding_restores_the_weights():
    variable = tf.Variable([0.0, 8.0])
    average = MovingAverage([variable], 0.5, False)
    for value in ([1.0, 2.0], [4.0, 5.0], [10.0, -1.0]):
        variable.assign(value)
        average.add()
    np.testing.assert_allclose(average.present()[0], [5.0, 2.0])
    with holding([variable], average.present()):
        np.testing.assert_allclose(variable, [5.0, 2.0])
    np.testing.assert_array_equal(variable, [10.0, -1.0])


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_a_step_without_a_finite_gradient_moves_nothing(precision):
    strategy = one_device()
    with strategy.scope():
        model = tiny_model(depth=1, depth_token_only=1, dtype=precision)
        optimizer = AdamW(parameter_table(model, "full", 1.0, 0.05), optimizer_config())
        average = MovingAverage(optimizer.variables, 0.5, False)
        loss_scale = LossScale() if precision == "mixed_float16" else None
        step = TrainStep(
            model,
            optimizer,
            strategy,
            CrossEntropy(0.1),
            1.0,
            loss_scale,
            accumulation=2,
            average=average,
        )
    images, labels = batch()
    step(images, labels, [1e-3])
    before = {name: value.numpy() for name, value in step.state.items()}, snapshot(model)
    metrics = named(
        step(tf.where(tf.range(8)[:, None, None, None] == 5, np.nan, images), labels, [1])
    )
    assert metrics["finite"] == 0
    for path, value in snapshot(model).items():
        assert value.tobytes() == before[1][path].tobytes(), path
    for name, value in step.state.items():
        if name == "steps_tried":
            assert int(value) == 2  # the next step draws new random numbers
        elif name == "loss_scale/scale":
            assert float(value) == before[0][name] / 2
        elif name == "loss_scale/good_steps":
            assert int(value) == 0
        else:
            assert value.numpy().tobytes() == before[0][name].tobytes(), name
    assert named(step(images, labels, [1e-3]))["finite"] == 1


class BatchNormProbe:
    """A BatchNorm head on a frozen backbone, trained on one batch."""

    def __init__(self, steps=3, **options):
        strategy = one_device()
        with strategy.scope():
            self.model = tiny_model(depth=1, depth_token_only=1, head="batchnorm_linear")
            table = parameter_table(self.model, "linear_probe", 1.0, 0.05)
            optimizer = AdamW(table, optimizer_config())
            self.step = TrainStep(
                Head(self.model), optimizer, strategy, frozen=self.model.backbone, **options
            )
        self.images, self.labels = batch()
        for _ in range(steps):
            self.metrics = self.step(self.images, self.labels, [1e-2])

    @property
    def norm(self):
        return self.model.head.norm


@pytest.mark.slow
def test_batchnorm_normalises_by_the_whole_batch_and_keeps_a_moving_average():
    probe = BatchNormProbe(steps=2, accumulation=4)
    features = np.asarray(probe.model.backbone(probe.images))
    mean, variance = features.mean(axis=0), features.var(axis=0)
    np.testing.assert_allclose(probe.norm.moving_mean, (1 - 0.9**2) * mean, atol=1e-5)
    np.testing.assert_allclose(
        probe.norm.moving_variance, 0.9**2 + (1 - 0.9**2) * variance, atol=1e-5
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"accumulation": 4}, {"accumulation": None}, {"jit_compile": True}], ids=str
)
def test_batchnorm_does_not_depend_on_micro_batches_or_xla(options):
    plain, other = BatchNormProbe(), BatchNormProbe(**options)
    for one, two in zip(plain.model.weights, other.model.weights, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5, err_msg=one.path)
    np.testing.assert_allclose(plain.metrics, other.metrics, atol=1e-5)


def test_a_step_without_a_finite_gradient_keeps_the_statistics():
    probe = BatchNormProbe(steps=1)
    before = snapshot(probe.model)
    metrics = probe.step(tf.fill(probe.images.shape, np.nan), probe.labels, [1e-2])
    assert named(metrics)["finite"] == 0
    after = snapshot(probe.model)
    assert all(np.array_equal(before[path], after[path]) for path in before)


@pytest.mark.slow
def test_a_batchnorm_head_on_features_takes_the_whole_batch():
    features, labels = np.random.default_rng(0).normal(size=(8, 48)).astype("float32"), batch()[1]
    steps = []
    for accumulation in (1, 4):
        model = tiny_model(depth=1, depth_token_only=1, head="batchnorm_linear")
        optimizer = AdamW(parameter_table(model, "linear_probe", 1.0, 0.05), optimizer_config())
        step = TrainStep(Head(model), optimizer, one_device(), accumulation=accumulation)
        step(features, labels, [1e-2])
        steps.append(snapshot(model))
    assert all(np.array_equal(steps[0][path], steps[1][path]) for path in steps[0])


@pytest.mark.slow
@pytest.mark.parametrize("head", ["linear", "batchnorm_linear"])
def test_statistics_of_targets_stay_exactly_constant(head):
    strategy = one_device()
    with strategy.scope():
        model = cait_tf.CaiTRegressor(
            CLASSES,
            head=head,
            image_size=32,
            embed_dim=48,
            depth=1,
            depth_token_only=1,
            num_heads=2,
        )
        model.target_scale.set([0.1] * CLASSES, [1 / 3] * CLASSES)
        optimizer = AdamW(parameter_table(model, "full", 1.0, 0.05), optimizer_config())
        average = MovingAverage(
            [one.value for one in model.target_scale.weights], decay=0.9, warmup=False
        )
        step = TrainStep(model, optimizer, strategy, accumulation=2, average=average)
    before = snapshot(model)
    images, labels = batch()
    finite = []
    for scale in (1.0, 1.0, np.nan):
        finite.append(named(step(images * scale, labels, [1e-2]))["finite"])
    assert finite == [1, 1, 0]
    after = snapshot(model)
    changed = {path for path in before if not np.array_equal(before[path], after[path])}
    assert not any("target_scale" in path for path in changed)
    assert any(path.endswith("kernel") for path in changed)
    for value, variable in zip(average.values, model.target_scale.weights, strict=True):
        np.testing.assert_array_equal(tf.identity(value), variable)


def test_statistics_of_targets_allow_micro_batches():
    strategy = one_device()
    model = cait_tf.CaiTRegressor(
        CLASSES, image_size=32, embed_dim=48, depth=1, depth_token_only=1, num_heads=2
    )
    step = TrainStep(model, Recorder(model), strategy, accumulation=2)
    assert step._micro_batches(batch()[0]) == 2


@pytest.mark.slow
def test_a_head_of_a_regressor_gives_numbers_in_the_targets_units():
    model = cait_tf.CaiTRegressor(
        1, image_size=32, embed_dim=48, depth=1, depth_token_only=1, num_heads=2
    )
    model.target_scale.set([5.0], [2.0])
    images = batch()[0]
    np.testing.assert_allclose(Head(model)(model.backbone(images)), model(images), rtol=1e-6)
