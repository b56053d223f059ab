import math
import warnings

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import balanced_accuracy_score

from cait_finetune.evaluation import Evaluator
from tests.cait_finetune.tiny import tiny_model


def given_logits(images, training):
    """A model whose images are its logits."""
    assert training is False
    return images


def batches(logits, labels, size):
    """Batches of `size`; the last is filled up with images that are not real."""
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
    assert len(set(labels)) < 11  # a class without an image counts for nothing
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted = balanced_accuracy_score(labels, logits.argmax(-1))
    got = Evaluator(given_logits)(batches(logits, labels, size))
    assert got.mean_per_class == pytest.approx(wanted)
    assert abs(got.mean_per_class - got.top1) > 0.01


def test_no_image_at_all_is_no_accuracy():
    got = Evaluator(given_logits)([])
    assert (got.top1, got.mean_per_class, got.examples) == (0.0, 0.0, 0)


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
