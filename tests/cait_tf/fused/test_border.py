"""Each fused path against the plain formulas of the model files."""

from __future__ import annotations

import re
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import cait_tf
from cait_tf.fused import implementation, thresholds
from cait_tf.fused.tensorflow import compiled_inference, infer, split_patches
from tests.cait_tf.arrays import normal

SOURCES = Path(cait_tf.__file__).parent
#: Tolerance of a logit, relative to the largest logit.
NEAR = {"float32": 2e-5, "mixed_bfloat16": 4e-2}


def in_eager(model, images):
    return model(images, training=False)


def in_graph(model, images):
    return tf.function(lambda x: model(x, training=False), autograph=False)(images)


def in_halves(model, images):
    with split_patches():
        return in_graph(model, images[:1])


def compiled(model, images):
    with compiled_inference():
        return in_graph(model, images)


def in_micro_batches(model, images):
    with pytest.MonkeyPatch.context() as patch:  # so few images would be one micro-batch
        patch.setattr(thresholds, "LEAST_PAIRS", dict.fromkeys((False, True), 1))
        return tf.function(lambda x: infer(model, x), autograph=False)(images)


@pytest.fixture(scope="module", params=NEAR)
def model(request):
    sizes = {"patch_size": 4, "embed_dim": 64, "depth": 2, "depth_token_only": 1, "num_heads": 4}
    one = cait_tf.CaiTClassifier(5, image_size=32, **sizes, dtype=request.param)
    one.build()
    for variable in one.weights:  # small LayerScale weights would hide the blocks
        if "gamma_" in variable.path:
            variable.assign(keras.ops.ones_like(variable))
    return one


@pytest.fixture(scope="module")
def images():
    return tf.constant(normal(4, 32, 32, 3))


@pytest.fixture(scope="module")
def plain(model, images):
    """The logits of the plain formulas."""
    with cait_tf.use_fused(False):
        return np.asarray(in_eager(model, images))


@pytest.mark.slow
@pytest.mark.parametrize("run", [in_eager, in_graph, in_halves, compiled, in_micro_batches])
def test_fused_inference_equals_the_plain_formulas(model, images, plain, run):
    got = np.asarray(run(model, images))
    near = NEAR[model.backbone.dtype_policy.name] * np.abs(plain).max()
    np.testing.assert_allclose(got, plain[: len(got)], rtol=0, atol=near)


@pytest.mark.slow
def test_fused_gradients_equal_the_plain_formulas(model, images):
    def gradients():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(model(images, training=True) ** 2)
        return tape.gradient(loss, [one.value for one in model.trainable_variables])

    with cait_tf.use_fused(False):
        plain = gradients()
    near = NEAR[model.backbone.dtype_policy.name]
    for variable, got, wanted in zip(model.trainable_variables, gradients(), plain, strict=True):
        if variable.path.endswith(("proj_l/bias", "attn/k/bias")):
            continue  # zero except for rounding
        wanted = np.asarray(wanted, "float64")
        size = np.abs(wanted).max() + 1e-6
        np.testing.assert_allclose(got, wanted, rtol=0, atol=8 * near * size, err_msg=variable.path)


def test_use_fused_false_holds_inside_its_block():
    assert implementation()
    with cait_tf.use_fused(False):
        assert implementation() is None
        cait_tf.use_fused(True)
        assert implementation()
    assert implementation()


def test_only_blocks_py_selects_the_fused_functions():
    """Only blocks.py asks for the fused functions, once per kind of block."""
    plain = ("layers", "attention", "backbone", "classifier", "position")
    for name in plain:
        text = (SOURCES / f"{name}.py").read_text(encoding="utf-8")
        assert not re.search(r"fused|tensorflow_kernels|backend\(\)", text), name
    blocks = (SOURCES / "blocks.py").read_text(encoding="utf-8")
    assert blocks.count("fused := implementation()") == 2
    assert "backend()" not in blocks
    assert keras.backend.backend() == "tensorflow"
