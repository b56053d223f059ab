"""Low-rank updates: no output changes at first, only they are trained, and they can be merged."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cait_tf import CaiTError, collection, load_weights, save_weights
from cait_tf.weights import timm
from cait_tf.weights.assign import parameters
from cait_tf.weights.load import values
from tests.cait_tf import golden


def with_lora(rank=2, alpha=None, trained=False):
    model = golden.classifier()
    load_weights(model, golden.SAFETENSORS)
    model.backbone.enable_lora(rank, alpha)
    if trained:
        rng = np.random.default_rng(0)
        for variable in model.weights:
            if "lora" in variable.path:
                variable.assign(0.1 * rng.normal(size=variable.shape))
    return model


def test_the_model_starts_as_it_was(images):
    golden.assert_near(with_lora()(images), golden.arrays("forward")["logits"])


def test_attention_and_mlp_kernels_are_updated_and_nothing_else_of_the_backbone():
    model = with_lora(rank=3)
    trained = [variable.path for variable in model.backbone.trainable_variables]
    assert all("/lora_kernel_" in path for path in trained)
    # A and B of 4 kernels (qkv, proj, fc1, fc2) in 3 blocks and 6 (q, k, v, proj, fc1, fc2) in 2.
    assert len(trained) == 2 * (3 * 4 + 2 * 6)
    assert {variable.path for variable in model.head.trainable_variables} == {
        model.head.kernel.path,
        model.head.bias.path,
    }
    for variable in model.backbone.trainable_variables:
        assert 3 in variable.shape


@pytest.mark.parametrize(
    ("targets", "layers"),
    [
        (None, 3 * 4 + 2 * 6),
        ("qkv", 3),
        ("^blocks_0/", 4),
        ("^blocks_token_only_1/mlp/", 2),
        ("attn/(qkv|q|v)$", 3 + 2 * 2),
    ],
)
def test_targets_are_searched_in_the_layers_paths(targets, layers):
    backbone = golden.backbone()
    backbone.enable_lora(2, targets=targets)
    assert len(backbone.trainable_variables) == 2 * layers


@pytest.mark.parametrize("targets", ["proj_l", "head", "cait_classifier", "qkv/kernel"])
def test_targets_that_no_layer_has(targets):
    model = golden.classifier()
    with pytest.raises(CaiTError, match=rf"targets: got '{targets}', .* of attn/qkv, attn/proj"):
        model.backbone.enable_lora(2, targets=targets)
    assert len(model.trainable_variables) == len(model.weights)


def test_targets_that_are_no_regular_expression():
    with pytest.raises(CaiTError, match=r"targets: got '\(q', expected a regular expression"):
        golden.backbone().enable_lora(2, targets="(q")


@pytest.mark.slow
def test_gradients_reach_every_update(images):
    model = with_lora(trained=True)
    variables = [variable.value for variable in model.backbone.trainable_variables]
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(images, training=True) ** 2)
    for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
        assert np.abs(gradient).max() > 0, variable.name


def test_alpha_scales_the_updates(images):
    plain, double = with_lora(2, trained=True), with_lora(2, alpha=4, trained=True)
    layer, other = (model.backbone.blocks[1].mlp.fc1 for model in (plain, double))
    base = np.asarray(layer._kernel)
    np.testing.assert_allclose(
        np.asarray(other.kernel) - base, 2 * (np.asarray(layer.kernel) - base), atol=1e-6
    )


@pytest.mark.slow
def test_saved_weights_have_them_merged(images, tmp_path):
    model = with_lora(trained=True)
    save_weights(model, tmp_path / "merged.safetensors")
    plain = golden.classifier()
    assert len(load_weights(plain, tmp_path / "merged.safetensors").loaded) == 98
    golden.assert_near(plain(images), np.asarray(model(images)), 1e-5)
    changed = [
        name
        for name, array in timm.read(golden.SAFETENSORS).items()
        if not np.array_equal(values(model)[name], array)
    ]
    assert len(changed) == 3 * 4 + 2 * 6


@pytest.mark.slow
def test_a_keras_file_has_the_updates_merged(images, tmp_path):
    model = with_lora(trained=True)
    model.save(tmp_path / "merged.keras")
    plain = golden.classifier()
    load_weights(plain, tmp_path / "merged.keras")
    golden.assert_near(plain(images), np.asarray(model(images)), 1e-5)


def test_loaded_weights_are_not_updated_once_more(images, tmp_path):
    model = with_lora(trained=True)
    before = np.asarray(model(images))
    save_weights(model, tmp_path / "merged.safetensors")
    load_weights(model, tmp_path / "merged.safetensors")
    golden.assert_near(model(images), before, 1e-5)


def test_layer_ids_and_names_leave_them_in_place():
    model = with_lora()
    assert set(parameters(model)) == set(parameters(golden.classifier()))
    path = model.backbone.blocks[1].attn.qkv.lora_kernel_a.path
    assert model.layer_id(path) == 2


def test_write_saved_model_refuses_unmerged_updates(tmp_path):
    with pytest.raises(CaiTError, match="got a model with LoRA"):
        collection.write_saved_model(with_lora(), tmp_path / "model")


@pytest.mark.parametrize("rank", [0, -1, 1.5, "2"])
def test_an_impossible_rank(rank):
    with pytest.raises(CaiTError, match=r"rank: got .*, expected a whole number from 1"):
        golden.backbone().enable_lora(rank)


def test_enable_lora_twice_raises_an_error():
    with pytest.raises(CaiTError, match="has LoRA already"):
        with_lora().backbone.enable_lora(2)
