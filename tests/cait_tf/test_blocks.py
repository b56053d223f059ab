from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cait_tf import CaiTError
from cait_tf.blocks import ClassAttentionBlock, SelfAttentionBlock
from tests.cait_tf.arrays import CLS, PATCHES, normal, randomise


def test_class_attention_block_has_no_dropout():
    block, cls, patches = ClassAttentionBlock(12, 3), normal(*CLS), normal(*PATCHES)
    inference = block(cls, patches)
    randomise(block)
    inference = block(cls, patches)
    np.testing.assert_allclose(block(cls, patches, training=True), inference, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rate", ["drop_rate", "attn_drop_rate", "drop_path_rate"])
def test_each_rate_of_a_trunk_block_acts_in_training_only(rate):
    block, x = (
        SelfAttentionBlock(12, 3, layer_scale_init=1.0, **{rate: 0.5}),
        normal(*PATCHES),
    )
    block(x)
    randomise(block)
    np.testing.assert_array_equal(block(x), block(x, training=False))
    assert np.abs(np.asarray(block(x, training=True)) - np.asarray(block(x))).max() > 1e-3


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_blocks_keep_the_residual_stream_in_float32(dtype):
    trunk = SelfAttentionBlock(12, 3, dtype=dtype)
    top = ClassAttentionBlock(12, 3, dtype=dtype)
    x, trunk_maps = trunk(normal(*PATCHES), return_attention=True)
    cls, top_maps = top(normal(*CLS), x, return_attention=True)
    names = {keras.backend.standardize_dtype(value.dtype) for value in (x, cls)}
    assert names == {"float32"}
    computed = {keras.backend.standardize_dtype(value.dtype) for value in (trunk_maps, top_maps)}
    assert computed == {dtype.removeprefix("mixed_")}


def test_a_tiny_update_survives_mixed_precision():
    """LayerScale and the residual sum need float32: float16 would round or lose the update."""
    block = SelfAttentionBlock(12, 3, layer_scale_init=1e-7, dtype="mixed_float16")
    x = 1e-3 * normal(*PATCHES)
    block(x)
    for dense in (block.attn.proj, block.mlp.fc2):
        dense.kernel.assign(np.zeros(dense.kernel.shape))
        dense.bias.assign(np.ones(12))
    np.testing.assert_allclose(np.asarray(block(x)) - x, 2e-7, rtol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("drop_path_rate", [0.0, 0.5])
def test_remat_gives_the_same_output_and_gradients(drop_path_rate):
    """The recomputed block must reuse the drop-path masks of the forward pass."""
    results = []
    for remat in (False, True):
        keras.utils.set_random_seed(3)
        block = SelfAttentionBlock(
            12, 3, layer_scale_init=1.0, drop_path_rate=drop_path_rate, remat=remat
        )
        x = tf.constant(normal(8, 9, 12))
        block.build(x.shape)
        randomise(block)

        @tf.function
        def gradients(x, block=block):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = block(x, training=True)
                loss = tf.reduce_sum(y**2)
            variables = [variable.value for variable in block.trainable_variables]
            return y, tape.gradient(loss, [x, *variables])

        results.append(gradients(x))
    (y, plain), (again, recomputed) = results
    np.testing.assert_allclose(again, y, rtol=1e-5)
    largest = max(np.abs(gradient).max() for gradient in plain)  # proj_l.bias has only noise
    for a, b in zip(plain, recomputed, strict=True):
        np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5 * largest)


def test_remat_returns_the_maps_too():
    block, x = SelfAttentionBlock(12, 3, remat=True), normal(*PATCHES)
    y, maps = block(x, return_attention=True, training=True)
    assert (y.shape, maps.shape) == ((2, 9, 12), (2, 3, 9, 9))


@pytest.mark.parametrize("rate", ["drop_rate", "attn_drop_rate"])
def test_remat_refuses_dropout(rate):
    with pytest.raises(CaiTError, match="remat: got true with drop_rate or attn_drop_rate"):
        SelfAttentionBlock(12, 3, remat=True, **{rate: 0.1})
