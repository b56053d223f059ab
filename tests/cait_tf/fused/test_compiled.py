"""Where the fused operations run."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from cait_tf.blocks import SelfAttentionBlock
from cait_tf.fused import tensorflow as kernels
from tests.cait_tf.arrays import normal
from tests.cait_tf.fused.xla import CPU_ALONE, compiled_parts

POLICIES = {"float32": 1e-5, "mixed_bfloat16": 0.05}


@pytest.fixture(params=POLICIES)
def block(request) -> SelfAttentionBlock:
    block = SelfAttentionBlock(16, 2, layer_scale_init=0.5, dtype=request.param)
    block.build((2, 9, 16))
    rng = np.random.default_rng(0)
    for variable in block.weights:  # biases must not be zero either
        variable.assign(rng.normal(size=variable.shape) * 0.5)
    return block


@CPU_ALONE
def test_inference_is_free_of_xla_unless_it_is_asked_for(block):
    x = tf.constant(normal(2, 9, 16), tf.float32)
    plain = tf.function(lambda x: block(x, training=False))
    fused = tf.function(lambda x: kernels.infer(block, x))
    assert compiled_parts(plain, x) == 0
    # 2 LayerNorms, 2 residuals, GELU, splitting and joining of heads, exponentials, probs.
    assert compiled_parts(fused, x) == 9


@pytest.mark.slow
def test_compiled_inference_computes_the_same(block):
    x = tf.constant(normal(2, 9, 16), tf.float32)
    near = POLICIES[block.dtype_policy.name]
    plain = tf.function(lambda x: block(x, training=False))(x)
    fused = tf.function(lambda x: kernels.infer(block, x))(x)
    assert fused.dtype == plain.dtype == "float32"
    np.testing.assert_allclose(fused, plain, rtol=0, atol=near * np.abs(plain).max())


@CPU_ALONE
def test_with_dropout_norms_and_gelu_are_compiled():
    block = SelfAttentionBlock(16, 2, drop_rate=0.1)
    block.build((2, 9, 16))
    x = tf.constant(normal(2, 9, 16), tf.float32)
    # 2 LayerNorms and GELU. Dropout separates the other operations.
    assert compiled_parts(tf.function(lambda x: block(x, training=True)), x) == 3


def test_compiled_inference_ends_with_its_block():
    with kernels.compiled_inference():
        assert kernels.used(training=False)
    assert not kernels.used(training=False)
    assert kernels.used(training=True)
