"""The segmenter: its formula, its files, and the weights of classifiers in it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import cait_tf
from cait_finetune.optim.parameters import parameter_table
from cait_tf.convert import convert
from cait_tf.errors import CaiTError
from cait_tf.heads import OF_PATCHES, OPTIONS

SIZE = {"image_size": (32, 48), "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 2}
NAMES = ("sky", "road", "car")
IMAGES = np.random.default_rng(0).normal(size=(2, 32, 48, 3)).astype("float32")


def segmenter(seed: int = 0, **options) -> cait_tf.CaiTSegmenter:
    keras.utils.set_random_seed(seed)
    return cait_tf.CaiTSegmenter(len(NAMES), **{"class_names": NAMES, **SIZE, **options})


def test_the_head_is_a_norm_and_a_linear_layer_on_each_patch():
    model = segmenter(layer_scale_init=1.0)
    for variable in model.head.weights:  # no weight is at its neutral value
        variable.assign(np.random.default_rng(1).normal(size=variable.shape))
    norm, fc = model.head.patch_norm, model.head.fc
    _, (tokens,) = model.backbone.forward_intermediates(IMAGES, 1)  # (B, h, w, D)
    tokens = np.asarray(tokens, "float64")
    centred = tokens - tokens.mean(-1, keepdims=True)
    normed = centred / np.sqrt(centred.var(-1, keepdims=True) + 1e-6)
    logits = (normed * np.array(norm.gamma) + np.array(norm.beta)) @ np.array(fc.kernel)
    wanted = tf.image.resize(logits + np.array(fc.bias), (32, 48))
    got = model(IMAGES)
    assert got.shape == (2, 32, 48, 3)
    np.testing.assert_allclose(got, wanted, atol=2e-5)


def test_attention_maps_are_those_of_the_trunk():
    model = segmenter()
    logits, maps = model(IMAGES, return_attention=True)
    np.testing.assert_allclose(logits, model(IMAGES), atol=1e-6)
    _, wanted = model.backbone(IMAGES, return_attention=True)
    trunk = [name for name in wanted if name.startswith("sa_ffn")]
    assert list(maps) == trunk
    for name in trunk:
        np.testing.assert_allclose(maps[name], wanted[name], atol=1e-6)


def test_exactly_the_unused_variables_have_no_gradient_and_are_frozen():
    model = segmenter()
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(IMAGES, training=True) ** 2)
    gradients = tape.gradient(loss, [one.value for one in model.weights])
    pairs = zip(model.weights, gradients, strict=True)
    without = {one.path for one, gradient in pairs if gradient is None}
    assert without == {one.path for one in model.weights if model.unused(one.path)}
    table = parameter_table(model, "full", 0.75, 0.05)
    assert {row.path for row in table if not row.trainable} == without
    parts = {path.split("/")[2] for path in without}
    assert parts == {"cls_token", "blocks_token_only_0", "blocks_token_only_1", "norm"}


def test_a_classifier_uses_each_variable():
    model = cait_tf.CaiTClassifier(3, **SIZE)
    assert not any(model.unused(one.path) for one in model.weights)


@pytest.mark.parametrize("name", ["a.keras", "a.weights.h5", "a.safetensors"])
def test_a_file_has_the_weights_and_the_names(tmp_path, name):
    model, path = segmenter(), tmp_path / name
    if name.endswith(".safetensors"):
        cait_tf.save_weights(model, path)
    else:
        getattr(model, "save" if name == "a.keras" else "save_weights")(path)
    moved = segmenter(1, class_names=NAMES[::-1])
    report = cait_tf.load_weights(moved, path)
    assert report.classes.complete
    np.testing.assert_allclose(moved(IMAGES), model(IMAGES)[..., ::-1], atol=1e-6)
    if name == "a.keras":
        loaded = keras.saving.load_model(path)
        assert type(loaded) is cait_tf.CaiTSegmenter
        np.testing.assert_array_equal(loaded(IMAGES), model(IMAGES))


def test_a_classifiers_weights_load_and_come_back(tmp_path):
    classifier = cait_tf.CaiTClassifier(3, NAMES, **SIZE)
    cait_tf.save_weights(classifier, tmp_path / "classifier.safetensors")
    model = segmenter(1)
    report = cait_tf.load_weights(model, tmp_path / "classifier.safetensors")
    assert set(report.initialised) == {
        f"head.{name}.{leaf}" for name in ("patch_norm", "fc") for leaf in ("weight", "bias")
    }
    cait_tf.save_weights(model, tmp_path / "segmenter.safetensors")
    other = cait_tf.CaiTClassifier(3, NAMES, **SIZE)
    assert cait_tf.load_weights(other, tmp_path / "segmenter.safetensors").initialised
    np.testing.assert_array_equal(other.backbone(IMAGES), classifier.backbone(IMAGES))


def test_convert_recognises_a_segmenter(tmp_path):
    model = segmenter()
    cait_tf.save_weights(model, tmp_path / "a.safetensors")
    convert(tmp_path / "a.safetensors", tmp_path / "b.keras")
    loaded = keras.saving.load_model(tmp_path / "b.keras")
    assert loaded.class_names == NAMES
    np.testing.assert_allclose(loaded(IMAGES), model(IMAGES), atol=1e-6)


def test_create_model_builds_a_segmenter_on_the_shipped_weights():
    model = cait_tf.create_model(
        "cait_nano_32", 14, image_size=64, weights="pretrained", head="linear_segmentation"
    )
    assert isinstance(model, cait_tf.CaiTSegmenter)
    assert model(np.zeros((1, 64, 64, 3), "float32")).shape == (1, 64, 64, 14)
    assert "pos_embed" in model.loading_report.resampled


def test_logits_are_float32_under_mixed_precision():
    model = segmenter(dtype="mixed_bfloat16")
    logits = model(IMAGES)
    assert logits.dtype == "float32"
    np.testing.assert_allclose(logits, segmenter()(IMAGES), atol=0.05)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: segmenter(head="mlp"),
            f"head: got 'mlp', expected one of {', '.join(OF_PATCHES)}",
        ),
        (
            lambda: cait_tf.CaiTClassifier(3, head="linear_segmentation", **SIZE),
            f"head: got 'linear_segmentation', expected one of {', '.join(OPTIONS)}",
        ),
        (
            lambda: segmenter(pooling="tokens"),
            "pooling: got 'tokens', expected 'token': a segmenter has no pooled features",
        ),
        (
            lambda: segmenter(head_options={"hidden": 3}),
            "head: got the option hidden with head 'linear_segmentation', expected of its options: none",
        ),
    ],
)
def test_wrong_arguments(build, message):
    with pytest.raises(CaiTError) as raised:
        build()
    assert str(raised.value) == message
