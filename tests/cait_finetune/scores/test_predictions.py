"""The logits of a split: one pass reads every image once, and a file restores the same logits."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from cait_finetune.errors import UserError
from cait_finetune.scores import predictions
from cait_finetune.scores.evaluation import Evaluator, MultiLabelEvaluator
from cait_finetune.scores.predictions import Predictions, Predictor, load_predictions
from tests.cait_finetune.tiny import tiny_model

NAMES = ["<b>&", "zwölf", "画像"]


def some(count=11, several=False, seed=0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, 3)).astype("float32")
    labels = rng.integers(0, 3, count).astype("int32")
    if several:
        labels = (rng.random((count, 3)) < 0.4).astype("float32")
    return Predictions(logits, labels, [f"bilder/ä_{n}.png" for n in range(count)], NAMES)


@pytest.mark.slow
def test_real_images_alone_are_predicted_in_order():
    model = tiny_model(num_classes=3)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(8, 32, 32, 3)).astype("float32")
    labels, real = np.arange(8), np.arange(8) < 6
    stream = tf.data.Dataset.from_tensor_slices((images, labels, real)).batch(4)
    logits, truth = Predictor(model)(stream)
    np.testing.assert_array_equal(truth, range(6))
    np.testing.assert_allclose(logits, np.array(model(images))[:6], atol=1e-6)


@pytest.mark.parametrize("size", [1, 4, 11, 64])
@pytest.mark.parametrize("several", [False, True])
def test_evaluation_of_the_logits_is_evaluation_of_the_model(size, several):
    """The metrics are bit-equal: both evaluators see the same numbers in the same batches."""
    found = some(several=several)
    kind = MultiLabelEvaluator if several else Evaluator
    identity = lambda images, training: images  # noqa: E731
    missing = -len(found.labels) % size
    pad = lambda array: np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)])  # noqa: E731
    whole = (pad(found.logits), pad(found.labels), np.arange(11 + missing) < 11)
    stream = tf.data.Dataset.from_tensor_slices(whole).batch(size)
    got = kind(identity)(found.batches(size))
    assert got == kind(identity)(stream)
    assert got.examples == 11


@pytest.mark.parametrize("several", [False, True])
def test_a_file_gives_everything_back(tmp_path, several):
    found = dataclasses.replace(some(several=several), weights="0af3")
    path = tmp_path / "predictions" / "test.npz"
    assert found.save(path)
    again = load_predictions(path)
    for name in ("logits", "labels"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
        assert getattr(again, name).dtype == getattr(found, name).dtype
    assert (again.ids, again.class_names) == (found.ids, NAMES)
    assert again.weights == "0af3"
    assert [one.name for one in path.parent.iterdir()] == ["test.npz"]


def test_a_file_of_an_earlier_version_has_no_weights_mark(tmp_path):
    found, path = some(), tmp_path / "test.npz"
    names = ("logits", "labels", "ids", "class_names")
    np.savez(path, **{name: np.array(getattr(found, name)) for name in names})
    assert load_predictions(path).weights is None
    found.save(path)
    assert load_predictions(path).weights is None


def test_a_file_that_would_be_large_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(predictions, "MAX_BYTES", 11 * 3 * 4 - 1)
    assert not some().save(tmp_path / "test.npz")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 and no more"])
def test_a_damaged_file_is_named(tmp_path, damage):
    path = tmp_path / "test.npz"
    path.write_bytes(damage)
    with pytest.raises(UserError, match=r"predictions: got .*test\.npz"):
        load_predictions(path)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        {"logits": np.zeros((11, 4), "float32")},
        {"logits": np.zeros((10, 3), "float32")},
        {"logits": np.zeros(11, "float32")},
        {"labels": np.zeros(10, "int32")},
        {"labels": np.full(11, 3, "int32")},
        {"labels": np.zeros((11, 2), "float32")},
        {"ids": ["one"]},
        {"class_names": ["a", "b"]},
    ],
    ids=lambda change: next(iter(change)),
)
def test_arrays_that_do_not_fit_one_another(tmp_path, several, change):
    dataclasses.replace(some(several=several), **change).save(tmp_path / "test.npz")
    with pytest.raises(UserError, match=r"test\.npz \(the shapes of its arrays do not match"):
        load_predictions(tmp_path / "test.npz")


def test_a_file_with_a_damaged_middle(tmp_path):
    path = tmp_path / "test.npz"
    some(1000).save(path)
    content = bytearray(path.read_bytes())
    content[60:2000] = bytes(1940)
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"predictions: got .*test\.npz"):
        load_predictions(path)
