from __future__ import annotations

import numpy as np

from cait_tf.attention import ClassAttention, HeadMixing, TalkingHeadAttention
from tests.cait_tf.arrays import PATCHES, normal, randomise


def test_head_mixing_is_a_dense_layer_over_heads():
    mixing, maps = HeadMixing(3), normal(2, 3, 4, 5)
    mixing.build(maps.shape)
    randomise(mixing)
    expected = np.einsum("bhnm,hk->bknm", maps, mixing.kernel)
    expected += np.asarray(mixing.bias)[:, None, None]
    np.testing.assert_allclose(mixing(maps), expected, atol=1e-5)


def test_self_attention_sees_no_order_of_patches():
    attention, x = TalkingHeadAttention(12, 3), normal(*PATCHES)
    attention.build(x.shape)
    randomise(attention)
    np.testing.assert_allclose(attention(x[:, ::-1]), np.asarray(attention(x))[:, ::-1], atol=1e-4)


def test_attention_dropout_leaves_the_returned_maps_whole():
    attention, x = TalkingHeadAttention(12, 3, attn_drop_rate=0.5), normal(*PATCHES)
    y, maps = attention(x, return_attention=True)
    y_dropped, maps_dropped = attention(x, return_attention=True, training=True)
    np.testing.assert_array_equal(maps_dropped, maps)
    assert np.abs(np.asarray(y_dropped) - np.asarray(y)).max() > 0


def test_class_attention_is_that_of_keys_and_values():
    """Class attention computes no keys and values, but equals attention with both."""
    attention, u = ClassAttention(12, 3), normal(*PATCHES)
    attention.build(u.shape)
    randomise(attention)
    q, k, v = (
        np.reshape(layer(x), (2, -1, 3, 4))
        for layer, x in ((attention.q, u[:, :1]), (attention.k, u), (attention.v, u))
    )  # (B, 1 or 1+N, H, d)
    scores = np.einsum("bnhd,bmhd->bhnm", q, k) / 2
    shares = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    y, maps = attention(u, return_attention=True)
    np.testing.assert_allclose(maps, shares, atol=1e-6)
    wanted = np.reshape(np.einsum("bhnm,bmhd->bnhd", shares, v), (2, 1, 12))
    np.testing.assert_allclose(y, attention.proj(wanted), atol=1e-5)


def test_class_attention_asks_from_the_class_token_only():
    attention, u = ClassAttention(12, 3), normal(*PATCHES)
    attention.build(u.shape)
    randomise(attention)
    y, maps = attention(u, return_attention=True)
    assert y.shape == (2, 1, 12)
    assert maps.shape == (2, 3, 1, 9)
    shuffled = np.concatenate([u[:, :1], u[:, :0:-1]], axis=1)
    np.testing.assert_allclose(attention(shuffled), y, atol=1e-5)
