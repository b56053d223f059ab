"""Heads against numpy, in files, and as sources of weights for each other."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import cait_tf
from cait_tf.convert import convert
from cait_tf.heads import OPTIONS, build_head
from tests.cait_finetune.tiny import tiny_model

FEATURES = np.random.default_rng(0).normal(size=(5, 8)).astype("float32")
NAMES = ["ant", "bee", "cat"]
KINDS = {
    "linear": {},
    "mlp": {"hidden": 6, "drop_rate": 0.5},
    "cosine": {"scale": 4.0},
    "batchnorm_linear": {},
}


def model_of(kind: str, names=NAMES, seed: int = 0, **options):
    return tiny_model(
        num_classes=len(names), seed=seed, class_names=names, depth=1, depth_token_only=1,
        head=kind, head_options=options or KINDS[kind],
    )  # fmt: skip


def arrays(model) -> list[np.ndarray]:
    return [np.array(variable) for variable in model.head.weights]


def test_each_kind_is_tried():
    assert list(KINDS) == list(OPTIONS)


def test_a_cosine_head_is_a_scaled_cosine():
    head = build_head("cosine", 3, "float32", scale=5.0)
    logits = np.array(head(FEATURES))
    kernel = np.array(head.kernel)
    wanted = FEATURES @ kernel / np.linalg.norm(FEATURES, axis=1)[:, None]
    np.testing.assert_allclose(logits, 5 * wanted / np.linalg.norm(kernel, axis=0), atol=1e-5)


def test_an_mlp_head_drops_in_training_only():
    from scipy.special import erf

    head = build_head("mlp", 3, "float32", hidden=6, drop_rate=0.5)
    logits = np.array(head(FEATURES))
    hidden = FEATURES @ np.array(head.fc1.kernel) + np.array(head.fc1.bias)
    hidden = hidden * 0.5 * (1 + erf(hidden / np.sqrt(2)))
    wanted = hidden @ np.array(head.fc2.kernel) + np.array(head.fc2.bias)
    np.testing.assert_allclose(logits, wanted, atol=1e-6)
    np.testing.assert_array_equal(logits, head(FEATURES, training=False))
    assert np.abs(np.array(head(FEATURES, training=True)) - logits).max() > 1e-4


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_with_a_head_survives_every_file(kind, tmp_path):
    model = model_of(kind)
    again = type(model).from_config(model.get_config())
    assert again.get_config() == model.get_config()
    for name in ("a.safetensors", "a.weights.h5", "a.keras"):
        path = tmp_path / name
        if name == "a.safetensors":
            cait_tf.save_weights(model, path)
        elif name == "a.keras":
            model.save(path)
        else:
            model.save_weights(path)
        other = model_of(kind, names=NAMES[::-1], seed=1)
        report = cait_tf.load_weights(other, path)
        assert report.initialised == (), name
        image = np.zeros((1, 32, 32, 3), "float32")
        np.testing.assert_allclose(np.array(other(image))[:, ::-1], model(image), atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("other", KINDS)
def test_a_head_of_another_kind_is_new(kind, other, tmp_path):
    path = tmp_path / "a.safetensors"
    cait_tf.save_weights(model_of(kind), path)
    model = model_of(other, seed=1)
    before = arrays(model)
    report = cait_tf.load_weights(model, path)
    same = all(np.array_equal(a, b) for a, b in zip(before, arrays(model), strict=True))
    assert same == (kind != other)
    assert bool(report.initialised) == (kind != other)
    assert ("unlike the source's" in " ".join(report.notes)) == (kind != other)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_with_a_head_is_converted(kind, tmp_path):
    model = model_of(kind)
    cait_tf.save_weights(model, tmp_path / "a.safetensors")
    convert(tmp_path / "a.safetensors", tmp_path / "b.keras")
    again = keras.saving.load_model(tmp_path / "b.keras")
    assert again.head_kind == kind
    image = np.ones((1, 32, 32, 3), "float32")
    np.testing.assert_allclose(again(image), model(image), atol=1e-6)


def test_another_width_makes_a_new_head(tmp_path):
    path = tmp_path / "a.safetensors"
    cait_tf.save_weights(model_of("mlp"), path)
    model = model_of("mlp", seed=1, hidden=7)
    assert len(cait_tf.load_weights(model, path).initialised) == 4


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("mpl", {}, "head: got 'mpl', expected one of linear, mlp, cosine, batchnorm_linear"),
        ("cosine", {"hidden": 3}, "got the option hidden with head 'cosine', expected of its options: scale"),
    ],
)  # fmt: skip
def test_a_wrong_head_is_refused(kind, options, message):
    with pytest.raises(cait_tf.CaiTError, match=message):
        build_head(kind, 3, "float32", **options)
