"""Heads against numpy, in files, and as sources of weights for each other."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import pytest
import yaml

import cait_tf
from cait_tf.convert import convert
from cait_tf.heads import OPTIONS, build_head
from cait_tf.weights.assign import assign_weights, head_names, parameters
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


@pytest.mark.parametrize("kind", OPTIONS)
def test_the_options_of_the_configuration_have_the_defaults_of_python(kind):
    file = Path(__file__).parents[2] / "conf" / "head" / f"{kind}.yaml"
    options = yaml.safe_load(file.read_text(encoding="utf-8"))
    options.pop("defaults", None)
    assert options == {"name": kind, **OPTIONS[kind]}


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, name) for kind in KINDS for name in sorted(head_names(parameters(model_of(kind))))],
)
def test_a_head_that_lacks_a_parameter_is_refused(kind, name, tmp_path):
    model = model_of(kind)
    tensors = {one: np.array(value) for one, value in parameters(model).items() if one != name}
    if {"head.weight", "head.scale.weight"} & {name} and kind == "cosine":
        pytest.skip("the rest is no head, or a part of a linear one")
    with pytest.raises(cait_tf.WeightsError, match=f"missing in the source: {name}"):
        assign_weights(model_of(kind, seed=1), tensors, "a file", "test")


@pytest.mark.slow
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "linear"])
def test_a_saved_model_of_the_collection_has_a_linear_head(kind, tmp_path):
    cait_tf.save_weights(model_of(kind), tmp_path / "a.safetensors")
    with pytest.raises(cait_tf.CaiTError, match=f"got a model with head={kind} and pooling="):
        convert(tmp_path / "a.safetensors", tmp_path / "b")
    convert(tmp_path / "a.safetensors", tmp_path / "b", feature_extractor=True)


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


@pytest.mark.slow
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
    assert (f"the source has head={kind}" in " ".join(report.notes)) == (kind != other)


@pytest.mark.slow
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
    model = model_of("mlp", names=NAMES[::-1], seed=1, hidden=7)
    report = cait_tf.load_weights(model, path)
    assert len(report.initialised) == 4
    assert report.classes is None  # no column is loaded by name
    assert "new head for 3 classes; the source has head=mlp head.hidden=6" in report.notes


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
