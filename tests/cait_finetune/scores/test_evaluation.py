import math
import multiprocessing
import warnings
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from scipy.stats import spearmanr
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    f1_score,
    log_loss,
    mean_absolute_error,
    mean_squared_error,
    r2_score,
)

from cait_finetune.config import DistributionConfig
from cait_finetune.scores.evaluation import Evaluator, MultiLabelEvaluator, NumberEvaluator
from cait_finetune.train.distribution import build_strategy
from tests.cait_finetune.tiny import tiny_model


def given_logits(images, training):
    """Stand in for a model: return the images as logits."""
    assert training is False
    return images


def batches(logits, labels, size):
    """Return batches of `size`. Padding, marked as not real, fills the last batch."""
    fill = -len(labels) % size
    logits = np.concatenate([logits, np.full((fill, logits.shape[1]), 7.0)]).astype("float32")
    labels = np.concatenate([labels, np.zeros(fill)]).astype("int64")
    real = np.arange(len(labels)) < len(labels) - fill
    return tf.data.Dataset.from_tensor_slices((logits, labels, real)).batch(size)


def reference(logits, labels):
    logits = logits.astype("float64")
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    order = np.argsort(-logits, axis=-1)
    top1 = (order[:, 0] == labels).mean()
    top5 = (order[:, :5] == labels[:, None]).any(-1).mean()
    return top1, top5, -log_p[np.arange(len(labels)), labels].mean()


@pytest.mark.parametrize("size", [1, 4, 10, 23, 64])
def test_every_image_counts_once_whatever_the_batch_size(size):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(23, 11)).astype("float32")
    labels = rng.integers(0, 11, 23)
    labels[:6] = logits[:6].argmax(-1)
    top1, top5, loss = reference(logits, labels)
    assert 0 < top1 < top5 < 1
    got = Evaluator(given_logits)(batches(logits, labels, size))
    assert got.examples == 23
    assert got.top1 == pytest.approx(top1)
    assert got.top5 == pytest.approx(top5)
    assert got.loss == pytest.approx(loss, rel=1e-6)


@pytest.mark.parametrize("size", [1, 4, 64])
def test_the_mean_per_class_is_scikit_learns_balanced_accuracy(size):
    rng = np.random.default_rng(1)
    labels = rng.choice(11, 40, p=[0.3, 0.2, *[0.1] * 4, *[0.02] * 5])
    logits = rng.normal(size=(40, 11)) + 2 * np.eye(11)[labels]
    assert len(set(labels)) < 11  # the metric ignores classes without images
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = balanced_accuracy_score(labels, logits.argmax(-1))
    got = Evaluator(given_logits)(batches(logits, labels, size))
    assert got.mean_per_class == pytest.approx(wanted)
    assert abs(got.mean_per_class - got.top1) > 0.01


def test_no_image_at_all_is_no_accuracy():
    got = Evaluator(given_logits)([])
    assert (got.top1, got.mean_per_class, got.examples) == (0.0, 0.0, 0)


@pytest.mark.slow
def test_a_real_model_equals_numpy_on_its_logits():
    model = tiny_model(num_classes=9)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(11, 32, 32, 3)).astype("float32")
    labels = rng.integers(0, 9, 11)
    top1, top5, loss = reference(np.array(model(images)), labels)
    padded = np.concatenate([images, np.zeros((1, 32, 32, 3), "float32")])
    stream = tf.data.Dataset.from_tensor_slices(
        (padded, np.append(labels, 0).astype("int64"), np.arange(12) < 11)
    ).batch(4)
    got = Evaluator(model)(stream)
    assert (got.examples, got.top1, got.top5) == (11, pytest.approx(top1), pytest.approx(top5))
    assert got.loss == pytest.approx(loss, rel=1e-5)


def test_images_that_are_not_real_count_nowhere_even_when_not_a_number():
    logits = tf.constant([[5.0, 0.0], [math.nan, math.nan]])
    stream = tf.data.Dataset.from_tensors((logits, tf.constant([0, 0]), tf.constant([True, False])))
    got = Evaluator(given_logits)(stream)
    assert (got.examples, got.top1) == (1, 1.0)
    assert got.loss == pytest.approx(math.log1p(math.exp(-5)), rel=1e-5)


@pytest.mark.parametrize("value", [0.0, 3.5])
def test_constant_logits_score_nothing(value):
    labels = np.arange(10)
    got = Evaluator(given_logits)(batches(np.full((10, 10), value), labels, 4))
    assert (got.top1, got.top5) == (0.0, 0.0)
    assert got.loss == pytest.approx(math.log(10))


def test_logits_that_are_not_numbers_score_nothing():
    labels = np.arange(10)
    got = Evaluator(given_logits)(batches(np.full((10, 10), math.nan), labels, 4))
    assert (got.top1, got.top5) == (0.0, 0.0)
    assert math.isnan(got.loss)


@pytest.mark.parametrize("classes", [2, 3, 4])
def test_fewer_than_five_classes(classes):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(9, classes))
    labels = rng.integers(0, classes, 9)
    got = Evaluator(given_logits)(batches(logits, labels, 4))
    assert got.top1 == pytest.approx(reference(logits, labels)[0])
    assert got.top5 == 1.0


def test_no_images_is_not_a_division_by_zero():
    stream = batches(np.eye(4), np.arange(4), 4).take(0)
    assert Evaluator(given_logits)(stream).examples == 0


@pytest.mark.slow
def test_an_evaluator_follows_the_weights():
    model = tiny_model(num_classes=6)
    images = np.random.default_rng(0).normal(size=(6, 32, 32, 3)).astype("float32")
    labels = np.full(6, 4)
    stream = tf.data.Dataset.from_tensors((images, labels, np.ones(6, bool)))
    evaluator = Evaluator(model)
    before = evaluator(stream)
    model.head.bias.assign([0.0, 0.0, 0.0, 0.0, 50.0, 0.0])
    after = evaluator(stream)
    assert before.top1 < after.top1 == 1.0


def several(count: int = 23, classes: int = 6, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return random labels, and logits that correlate with the labels."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((count, classes)) < 0.3).astype("float32")
    return (rng.normal(size=labels.shape) + 1.5 * labels - 1).astype("float32"), labels


def filled_up(logits: np.ndarray, labels: np.ndarray, size: int, blank: float = 9.0) -> list:
    """Return batches of `size`. Padding, marked as not real, fills the last batch."""
    fill = -len(labels) % size
    logits = np.concatenate([logits, np.full((fill, logits.shape[1]), blank, "float32")])
    labels = np.concatenate([labels, np.ones((fill, labels.shape[1]), "float32")])
    real = np.arange(len(labels)) < len(labels) - fill
    parts = (
        [tf.constant(part[start : start + size]) for part in (logits, labels, real)]
        for start in range(0, len(labels), size)
    )
    return list(parts)


def with_scikit_learn(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float, float]:
    """Return mean average precision over classes with images, micro F1, and the loss."""
    own = [
        average_precision_score(labels[:, one], logits[:, one])
        for one in range(labels.shape[1])
        if labels[:, one].any()
    ]
    p = 1 / (1 + np.exp(-logits.astype("float64")))
    f1 = f1_score(labels.ravel(), p.ravel() > 0.5)  # micro average: one list of all labels
    return np.mean(own), f1, log_loss(labels.ravel(), p.ravel())


@pytest.mark.parametrize("size", [1, 4, 23, 64])
def test_several_labels_as_scikit_learn_has_them(size):
    logits, labels = several()
    labels[:, 2] = 0  # without a positive image the class has no average precision
    labels[:, 4] = 1
    got = MultiLabelEvaluator(given_logits)(filled_up(logits, labels, size))
    precision, f1, loss = with_scikit_learn(logits, labels)
    assert 0 < f1 < precision < 1
    assert got.as_metrics() == {
        "loss": pytest.approx(loss),
        "mean_average_precision": pytest.approx(precision),
        "f1": pytest.approx(f1),
    }
    assert got.examples == 23


def test_one_class_alone():
    logits, labels = several(classes=1)
    got = MultiLabelEvaluator(given_logits)(filled_up(logits, labels, 4))
    precision, f1, loss = with_scikit_learn(logits, labels)
    assert got.mean_average_precision == pytest.approx(precision)
    assert got.f1 == pytest.approx(f1)
    assert got.loss == pytest.approx(loss)


def test_perfect_logits_score_1_and_constant_logits_score_the_base_rate():
    labels = several()[1]
    sure = MultiLabelEvaluator(given_logits)(filled_up(60 * labels - 30, labels, 8))
    assert (sure.mean_average_precision, sure.f1) == (1.0, 1.0)
    assert sure.loss < 1e-12
    silent = MultiLabelEvaluator(given_logits)(filled_up(0 * labels, labels, 8))
    assert silent.mean_average_precision == pytest.approx(labels.mean(), rel=1e-6)
    assert (silent.f1, silent.loss) == (0.0, pytest.approx(math.log(2)))


def test_images_without_any_label():
    logits, labels = several()
    got = MultiLabelEvaluator(given_logits)(filled_up(logits - 9, 0 * labels, 8))
    assert (got.mean_average_precision, got.f1, got.examples) == (0.0, 0.0, 23)
    assert 0 < got.loss < 0.1


def test_one_logit_that_is_no_number_is_seen_in_the_loss():
    logits, labels = several()
    logits[7, 3] = math.nan
    got = MultiLabelEvaluator(given_logits)(filled_up(logits, labels, 8))
    assert math.isnan(got.loss)
    assert got.mean_average_precision == 0.0
    assert got.examples == 23


def test_images_that_are_not_real_are_left_out_even_when_not_a_number():
    logits, labels = several()
    evaluator = MultiLabelEvaluator(given_logits)
    one, other = (evaluator(filled_up(logits, labels, 8, blank)) for blank in (math.nan, -4.0))
    assert one == other
    assert math.isfinite(one.loss)


def test_several_labels_of_no_image_at_all():
    got = MultiLabelEvaluator(given_logits)([])
    assert (got.mean_average_precision, got.f1, got.loss, got.examples) == (0.0, 0.0, 0.0, 0)


def on_replicas(devices: int) -> tuple:
    """Return multi-label and single-label metrics, evaluated on `devices` virtual CPU devices."""
    strategy = build_strategy(
        DistributionConfig("mirrored", devices) if devices > 1 else DistributionConfig("cpu")
    )
    logits, labels = several()
    results = []
    for kind, truth in ((MultiLabelEvaluator, labels), (Evaluator, labels.argmax(-1))):
        parts = filled_up(logits, labels, 4)
        if kind is Evaluator:
            truth = np.append(truth, 0).astype("int64")
            parts = [
                [images, tf.constant(truth[4 * number :][:4]), real]
                for number, (images, _, real) in enumerate(parts)
            ]
        shared = [
            [
                _divided(strategy, part[number : number + devices])
                for part in zip(*parts, strict=True)
            ]
            for number in range(0, len(parts), devices)
        ]
        results.append(kind(given_logits, strategy)(shared))
    return tuple(results)


def _divided(strategy: tf.distribute.Strategy, parts: tuple) -> object:
    if len(parts) == 1:
        return parts[0]
    return strategy.experimental_distribute_values_from_function(
        lambda context: parts[context.replica_id_in_sync_group]
    )


@pytest.mark.slow
def test_two_replicas_are_one_device():
    """TensorFlow must split its CPU before first use, so two replicas need a new process."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        two = pool.submit(on_replicas, 2).result(timeout=240)
    one = on_replicas(1)
    assert one[0] == two[0]
    assert one[0].examples == one[1].examples == 23
    assert two[1].as_metrics() == pytest.approx(one[1].as_metrics(), rel=1e-6)


def numbers(count: int = 23) -> tuple[np.ndarray, np.ndarray]:
    """Return predicted and true numbers ``(count, 3)`` of targets in different units."""
    rng = np.random.default_rng(4)
    true = rng.normal(size=(count, 3)) * [1.0, 3e4, 2e-5] + [0.0, 1e5, 1e-4]
    noise = rng.normal(size=true.shape) * [0.3, 3e4, 4e-5]
    return (true + noise).astype("float32"), true.astype("float32")


@pytest.mark.parametrize("size", [1, 4, 23, 64])
def test_numbers_are_scored_as_scikit_learn_and_scipy_do(size):
    predicted, true = numbers()
    predicted[:5, 0] = predicted[0, 0]  # equal numbers share a rank
    got = NumberEvaluator(given_logits)(filled_up(predicted, true, size))
    ours, theirs = predicted.astype("float64"), true.astype("float64")
    squares = mean_squared_error(theirs, ours, multioutput="raw_values")
    ranks = [spearmanr(ours[:, one], theirs[:, one]).statistic for one in range(3)]
    assert got.examples == 23
    assert got.as_metrics() == {
        "loss": pytest.approx((squares / theirs.var(axis=0)).mean()),
        "r2": pytest.approx(r2_score(theirs, ours)),
        "mae": pytest.approx(mean_absolute_error(theirs, ours)),
        "rmse": pytest.approx(np.sqrt(squares).mean()),
        "spearman": pytest.approx(np.mean(ranks)),
    }
    assert got.r2 == pytest.approx(1 - got.loss)


def test_padding_that_is_no_number_does_not_count_but_a_prediction_does():
    predicted, true = numbers()
    evaluator = NumberEvaluator(given_logits)
    one, other = (evaluator(filled_up(predicted, true, 8, blank)) for blank in (math.nan, -4.0))
    assert one == other
    predicted[7, 2] = math.nan
    got = evaluator(filled_up(predicted, true, 8))
    assert math.isnan(got.loss)
    assert math.isnan(got.r2)
    assert got.examples == 23


def test_a_constant_target_and_no_image_have_no_r2():
    predicted, true = numbers()
    true[:, 1] = 7.0
    got = NumberEvaluator(given_logits)(filled_up(predicted[:, 1:2], true[:, 1:2], 8))
    assert (got.r2, got.spearman) == (0.0, 0.0)
    assert got.loss == pytest.approx(((predicted[:, 1].astype("float64") - 7) ** 2).mean())
    nothing = NumberEvaluator(given_logits)([])
    assert (nothing.r2, nothing.mae, nothing.loss, nothing.examples) == (0.0, 0.0, 0.0, 0)
