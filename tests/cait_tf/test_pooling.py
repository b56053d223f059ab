"""Pooling: the features of a backbone against its tokens, in files, and beside other poolings."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import cait_tf
from cait_tf.backbone import POOLINGS
from cait_tf.convert import convert
from tests.cait_finetune.tiny import tiny_model

IMAGES = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
NAMES = ["ant", "bee", "cat"]


def model_of(pooling: str, names=NAMES, seed: int = 0, **options):
    return tiny_model(
        num_classes=len(names), seed=seed, class_names=names, depth=2, depth_token_only=2,
        pooling=pooling, **options,
    )  # fmt: skip


def normalised(tokens):
    centred = tokens - tokens.mean(axis=-1, keepdims=True)
    return centred / np.sqrt(tokens.var(axis=-1, keepdims=True) + 1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_features_are_those_of_the_tokens(pooling):
    backbone = model_of(pooling).backbone
    tokens, patches, _ = backbone._forward(IMAGES, False, False)
    tokens, patches = [np.array(one)[:, 0] for one in tokens], np.array(patches)
    expected = {
        "token": [tokens[-1]],
        "token_and_mean": [tokens[-1], patches.mean(axis=1)],
        "tokens": tokens,
    }[pooling]
    features = np.array(backbone(IMAGES))
    assert features.shape == (2, backbone.num_features)
    np.testing.assert_allclose(
        features, np.concatenate([normalised(one) for one in expected], axis=-1), atol=1e-4
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("pooling", "head"),
    [(pooling, "linear") for pooling in POOLINGS]
    + [("token_and_mean", head) for head in ("mlp", "cosine", "batchnorm_linear")],
)
def test_a_model_with_a_pooling_survives_every_file(pooling, head, tmp_path):
    model = model_of(pooling, head=head)
    cait_tf.save_weights(model, tmp_path / "a.safetensors")
    model.save_weights(tmp_path / "a.weights.h5")
    model.save(tmp_path / "a.keras")
    wanted = np.array(model(IMAGES))
    for name in ("a.safetensors", "a.weights.h5", "a.keras"):
        other = model_of(pooling, names=NAMES[::-1], seed=1, head=head)
        assert cait_tf.load_weights(other, tmp_path / name).initialised == (), name
        np.testing.assert_allclose(np.array(other(IMAGES))[:, ::-1], wanted, atol=1e-6)
    convert(tmp_path / "a.safetensors", tmp_path / "b.keras")
    again = keras.saving.load_model(tmp_path / "b.keras")
    assert again.backbone.pooling == pooling
    np.testing.assert_allclose(again(IMAGES), wanted, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("other", POOLINGS)
def test_a_head_on_other_features_is_new(pooling, other, tmp_path):
    path = tmp_path / "a.safetensors"
    cait_tf.save_weights(model_of(pooling), path)
    model = model_of(other, seed=1)
    before = [np.array(one) for one in model.head.weights]
    report = cait_tf.load_weights(model, path)
    after = [np.array(one) for one in model.head.weights]
    kept = all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
    assert kept == bool(report.initialised) == (pooling != other)
    words = "the source has head=linear" + f" head.pooling={pooling}" * (pooling != "token")
    assert any(note.endswith(words) for note in report.notes) == (pooling != other)


@pytest.mark.slow
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("other", POOLINGS)
def test_a_feature_extractor_takes_the_weights_of_any_classifier(pooling, other, tmp_path):
    path = tmp_path / "a.safetensors"
    cait_tf.save_weights(model_of(pooling), path)
    extractor = type(model_of(other).backbone).from_config(model_of(other).backbone.get_config())
    extractor.build()
    report = cait_tf.load_weights(extractor, path)
    assert {"head.weight", "head.bias"} <= set(report.unused)
    assert bool(report.initialised) == (other == "token_and_mean" != pooling)


@pytest.mark.slow
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("other", POOLINGS)
def test_a_classifier_takes_the_weights_of_any_feature_extractor(pooling, other, tmp_path):
    extractor = model_of(other, seed=1).backbone
    cait_tf.save_weights(extractor, tmp_path / "a.safetensors")
    model = model_of(pooling)
    if pooling == other == "token_and_mean":
        extractor.fc_norm.gamma.assign(np.full(extractor.embed_dim, 3.0))
        cait_tf.save_weights(extractor, tmp_path / "a.safetensors")
    report = cait_tf.load_weights(model, tmp_path / "a.safetensors")
    assert {"head.weight", "head.bias"} <= set(report.initialised)
    new_norm = pooling == "token_and_mean" != other
    assert ("fc_norm.weight" in report.initialised) == new_norm
    if pooling == other == "token_and_mean":
        np.testing.assert_array_equal(model.backbone.fc_norm.gamma, 3.0)
    assert ("fc_norm.weight" in report.unused) == (other == "token_and_mean" != pooling)


@pytest.mark.slow
@pytest.mark.parametrize("pooling", POOLINGS[1:])
def test_no_file_without_a_head_is_made_of_another_pooling(pooling, tmp_path):
    """Such a file would be read as a model with `pooling=token`."""
    model = model_of(pooling)
    cait_tf.save_weights(model, tmp_path / "a.safetensors")
    model.backbone.save(tmp_path / "b.keras")
    message = f"with pooling={pooling}, expected pooling=token"
    with pytest.raises(cait_tf.CaiTError, match=message):
        convert(tmp_path / "a.safetensors", tmp_path / "c.safetensors", feature_extractor=True)
    with pytest.raises(cait_tf.CaiTError, match=message):
        convert(tmp_path / "b.keras", tmp_path / "c.safetensors")
    assert not (tmp_path / "c.safetensors").exists()


def test_an_unknown_pooling_is_refused():
    with pytest.raises(
        cait_tf.CaiTError, match="pooling: got 'mean', expected one of token, token_"
    ):
        model_of("mean")


@pytest.mark.parametrize("pooling", POOLINGS[1:])
def test_a_saved_model_of_the_collection_pools_the_class_token(pooling, tmp_path):
    cait_tf.save_weights(model_of(pooling), tmp_path / "a.safetensors")
    with pytest.raises(
        cait_tf.CaiTError, match=f"pooling={pooling}, expected a linear head on the"
    ):
        convert(tmp_path / "a.safetensors", tmp_path / "b")
