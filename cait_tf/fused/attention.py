"""Talking-heads attention without its two projections, `qkv` and `proj`.

Shapes: B images, N patches, D ``embed_dim``, H heads, d = D / H.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from cait_tf.fused.casts import to_compute_dtype, to_float32
from cait_tf.fused.compiled import compiled, compiles, inferring, wait_for
from cait_tf.fused.elementwise import column_sums
from cait_tf.fused.maps import all_maps, kernel_gradient, last_map, map_gradient, mix
from cait_tf.fused.micro_batches import keeps_maps
from cait_tf.fused.types import custom_gradient, sizes


def talking_heads(
    product: tf.Tensor,
    bias: tf.Tensor,
    before: tuple[tf.Tensor, tf.Tensor],
    after: tuple[tf.Tensor, tf.Tensor],
    patches: int,
) -> tf.Tensor:
    """Compute attention with heads mixed before and after the softmax: ``(B*N, 3D) -> (B*N, D)``.

    The gradient computes the maps ``(B, H, N, N)`` again, which saves much of a block's memory. If
    the maps are small (`keeps_maps`), the gradient keeps all three tensors of maps instead.

    The biases of the mixings need no pass over the maps. The first bias is the same for all keys,
    and the softmax cancels it. The second bias adds a multiple of the sum of all values to every
    output. The softmax also cancels the keys' bias. The gradients of both cancelled biases are
    exactly zero.

    Args:
        product: queries, keys and values of each patch, without their bias.
        bias: bias of queries, keys and values, (3D,), in any dtype.
        before: kernel (H in, H out) and bias (H,) of the mixing before the softmax, in any dtype.
        after: kernel and bias of the mixing after the softmax.
        patches: N.
    """

    @custom_gradient
    def attend(
        product: tf.Tensor,
        bias: tf.Tensor,
        kernel_l: tf.Tensor,
        bias_l: tf.Tensor,
        kernel_w: tf.Tensor,
        bias_w: tf.Tensor,
    ) -> tuple[tf.Tensor, Callable]:
        first, second = (tf.cast(one, product.dtype) for one in (kernel_l, kernel_w))
        q, k, v = _split(product, bias, patches, first.shape[0])  # (B, H, N, d) each
        kept = None
        if inferring():
            mixed = last_map(q, k, first, second)
        else:
            maps = all_maps(q, k, first, second)
            mixed = maps[-1]
            kept = maps if keeps_maps(mixed) else None
        weight = to_float32(bias_w)[:, None, None]  # (H, 1, 1)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
            # Without `wait_for`, TensorFlow would compute the maps early and keep them until here.
            scores, probs, mixed = kept or all_maps(wait_for(upstream, q), k, first, second)
            upstream = _by_head(upstream, *q.shape[1:])  # (B, H, N, d)
            d_maps = tf.matmul(upstream, v, transpose_b=True)  # (B, H, N, N)
            d_v = tf.matmul(mixed, upstream, transpose_a=True)  # (B, H, N, d)
            d_total = _total(upstream)  # (B, H, 1, d)
            d_mixed = map_gradient(probs, d_maps, second)
            d_scores = mix(d_mixed, tf.transpose(first))
            d_q, d_k = tf.matmul(d_scores, k), tf.matmul(d_scores, q, transpose_a=True)
            d_product = _join(d_q, d_k, d_v, weight * d_total)  # (B*N, 3D)
            d_bias = tf.cast(column_sums(d_product), bias.dtype)
            return (
                d_product,
                d_bias * _without_keys(d_bias),
                tf.cast(kernel_gradient(scores, d_mixed), kernel_l.dtype),
                tf.zeros_like(bias_l),
                tf.cast(kernel_gradient(probs, d_maps), kernel_w.dtype),
                tf.cast(tf.reduce_sum(d_total * _total(v), [0, 2, 3]), bias_w.dtype),
            )

        y = tf.matmul(mixed, v)  # (B, H, N, d)
        return _side_by_side(y, weight * _total(v)), gradient

    return attend(*map(tf.convert_to_tensor, (product, bias, *before, *after)))


@compiled
def _split(
    product: tf.Tensor, bias: tf.Tensor, patches: int, heads: int
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Split ``(B*N, 3D)`` into scaled queries, keys and values, (B, H, N, d) each."""
    width = sizes(product)[1] // (3 * heads)
    parts = tf.reshape(to_float32(product) + to_float32(bias), [-1, patches, 3, heads, width])
    q, k, v = (_apart(parts[:, :, one]) for one in range(3))
    return (
        to_compute_dtype(q * width**-0.5, product.dtype),
        to_compute_dtype(k, product.dtype),
        to_compute_dtype(v, product.dtype),
    )


@compiled
def _join(d_q: tf.Tensor, d_k: tf.Tensor, d_v: tf.Tensor, d_values: tf.Tensor) -> tf.Tensor:
    """Return the gradient of `_split`. Add `d_values`, ``(B, H, 1, d)``, to `d_v`."""
    _, heads, _, width = sizes(d_q)
    parts = to_float32(d_q) * width**-0.5, to_float32(d_k), to_float32(d_v) + d_values
    # Concatenate along the head axis: stacking on a new axis is slower.
    joined = tf.concat(
        [tf.transpose(to_compute_dtype(one, d_q.dtype), [0, 2, 1, 3]) for one in parts], 2
    )
    return tf.reshape(joined, [-1, 3 * heads * width])  # from (B, N, 3H, d)


def _without_keys(bias: tf.Tensor) -> tf.Tensor:
    """Return ``(3D,)`` with 0 for the keys and 1 for queries and values."""
    return tf.constant(np.repeat([1.0, 0.0, 1.0], sizes(bias)[0] // 3), bias.dtype)


@compiled
def _by_head(rows: tf.Tensor, heads: int, patches: int, width: int) -> tf.Tensor:
    """``(B*N, D) -> (B, H, N, d)``."""
    return _apart(tf.reshape(rows, [-1, patches, heads, width]))


@compiled
def _side_by_side(y: tf.Tensor, total: tf.Tensor) -> tf.Tensor:
    """Return ``y + total`` of ``(B, H, N, d)`` and ``(B, H, 1, d)`` as ``(B*N, D)``."""
    _, heads, _, width = sizes(y)
    return tf.reshape(
        _together(to_compute_dtype(to_float32(y) + total, y.dtype)), [-1, heads * width]
    )


def _apart(x: tf.Tensor) -> tf.Tensor:
    """``(B, N, H, d) -> (B, H, N, d)``.

    On a CPU, `_apart` and `_together` stack slices: XLA is slower with a transposition.
    """
    if not compiles():
        return tf.transpose(x, [0, 2, 1, 3])
    return tf.stack([x[:, :, head] for head in range(sizes(x)[2])], 1)


def _together(x: tf.Tensor) -> tf.Tensor:
    """``(B, H, N, d) -> (B, N, H, d)``."""
    if not compiles():
        return tf.transpose(x, [0, 2, 1, 3])
    return tf.stack([x[:, head] for head in range(sizes(x)[1])], 2)


def _total(x: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(to_float32(x), 2, keepdims=True)  # (B, H, 1, d)
