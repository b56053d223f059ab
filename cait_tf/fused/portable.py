"""CaiT's two blocks in `keras.ops`, with fewer passes over memory than the plain formulas.

JAX uses both blocks. TensorFlow uses them for class attention, for training with dropout, and for
inference in graphs without XLA, such as exports.

Shapes: B images, N patches, D ``embed_dim``, H ``num_heads``, d = D / H.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import keras

from cait_tf.keras_ops import ops
from cait_tf.layers import gelu, softmax, stable_dtype


def matmul_mix(mixing: Any, maps: Any) -> Any:
    """Mix heads without the bias, by one product of the flattened maps. It copies no data.

    Args:
        mixing: a `HeadMixing` layer.
        maps: (B, H, N, M).
    """
    n, m = maps.shape[2], maps.shape[3]
    flat = ops.reshape(maps, (-1, mixing.num_heads, n * m))  # (B, H, N*M)
    mixed = ops.matmul(ops.transpose(ops.cast(mixing.kernel, maps.dtype)), flat)
    return ops.reshape(mixed, (-1, mixing.num_heads, n, m))


def plain_activate(fc1: keras.layers.Dense, rows: Any) -> Any:
    """Return ``GELU(fc1(rows))``, (B*N, hidden)."""
    return gelu(fc1(rows))


def plain_norm(norm: keras.layers.Layer, x: Any) -> Any:
    """Return ``norm(x)``: LayerNorm as the layer computes it."""
    return norm(x)


class Formulas(NamedTuple):
    """The operations that differ between backends."""

    softmax: Callable[[Any], Any] = softmax
    activate: Callable[[keras.layers.Dense, Any], Any] = plain_activate
    norm: Callable[[keras.layers.Layer, Any], Any] = plain_norm
    mix: Callable[[Any, Any], Any] = matmul_mix


def self_attention_block(
    block: Any, x: Any, factors: tuple, training: bool, formulas: Formulas
) -> Any:
    """Compute a trunk block: ``(B, N, D) -> (B, N, D)``.

    Args:
        block: a `SelfAttentionBlock`.
        factors: factors (B, 1, 1) of stochastic depth, one for each of the two branches; or empty.
    """
    first, second = factors or (None, None)
    u = formulas.norm(block.norm1, x)
    y = _attend(block.attn, [u], training, formulas)[0]
    x = _add(x, y, block.gamma_1, first)
    y = _mlp(block.mlp, formulas.norm(block.norm2, x), formulas, training)
    return _add(x, y, block.gamma_2, second)


def block_of_parts(block: Any, parts: list[Any], formulas: Formulas) -> list[Any]:
    """Compute a trunk block in inference on parts of the patches, ``(B, n, D)`` each.

    The parts share only keys and values.
    """
    attended = _attend(block.attn, [block.norm1(x) for x in parts], False, formulas)
    parts = [_add(x, y, block.gamma_1) for x, y in zip(parts, attended, strict=True)]
    return [_add(x, _mlp(block.mlp, block.norm2(x), formulas), block.gamma_2) for x in parts]


def class_attention_block(block: Any, cls: Any, patches: Any, formulas: Formulas) -> Any:
    """Compute a class-attention block: ``(B, 1, D), (B, N, D) -> (B, 1, D)``."""
    u = formulas.norm(block.norm1, ops.concatenate([cls, patches], axis=1))  # (B, 1+N, D)
    cls = _add(cls, _class_attention(block.attn, u, formulas), block.gamma_1)
    y = _mlp(block.mlp, formulas.norm(block.norm2, cls), formulas)
    return _add(cls, y, block.gamma_2)  # (B, 1, D)


def erf_gelu(x: Any) -> Any:
    """Return exact GELU, computed in the dtype of `x`."""
    return 0.5 * x * (1.0 + ops.erf(x * (1.0 / math.sqrt(2.0))))


def _add(x: Any, y: Any, scale: Any, factor: Any = None) -> Any:
    """Return ``x + factor * gamma * y``, where `scale` is the LayerScale with this gamma."""
    y = scale(y)
    return x + (y if factor is None else y * factor)


def _rows(x: Any) -> Any:
    """Reshape ``(B, N, D)`` to ``(B*N, D)``: TensorFlow fuses more into an unbatched product."""
    return ops.reshape(x, (-1, x.shape[-1]))


def _attend(attn: Any, parts: list[Any], training: bool, formulas: Formulas) -> list[Any]:
    """Compute talking-heads attention of parts of the patches, (B, n, D) each, to all patches."""
    heads = [_heads(attn, x) for x in parts]
    k, v = (_joined([one[i] for one in heads]) for i in (1, 2))  # (B, H, N, d) each
    results = []
    for x, (q, _, _) in zip(parts, heads, strict=True):
        scores = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2)))  # (B, H, n, N)
        y = (_maps_times_values if training else _without_bias_passes)(attn, scores, v, formulas)
        rows = ops.reshape(ops.transpose(y, (0, 2, 1, 3)), (-1, attn.embed_dim))  # (B*n, D)
        y = ops.reshape(attn.proj(rows), (-1, x.shape[1], attn.embed_dim))
        results.append(attn.proj_drop(y, training=training))
    return results


def _joined(parts: list[Any]) -> Any:
    return parts[0] if len(parts) == 1 else ops.concatenate(parts, axis=2)


def _heads(attn: Any, x: Any) -> tuple:
    """Project ``(B, n, D)`` to scaled queries, keys and values, (B, H, n, d) each."""
    d = attn.embed_dim // attn.num_heads
    qkv = ops.reshape(attn.qkv(_rows(x)), (-1, x.shape[1], 3, attn.num_heads, d))
    q, k, v = ops.unstack(ops.transpose(qkv, (2, 0, 3, 1, 4)), 3)
    return q * d**-0.5, k, v


def _maps_times_values(attn: Any, scores: Any, v: Any, formulas: Formulas) -> Any:
    mix, first, second = formulas.mix, attn.proj_l, attn.proj_w
    probs = formulas.softmax(mix(first, scores) + _bias(first, scores))
    maps = mix(second, probs) + _bias(second, probs)
    return ops.matmul(attn.attn_drop(maps, training=True), v)  # (B, H, N, d)


def _without_bias_passes(attn: Any, scores: Any, v: Any, formulas: Formulas) -> Any:
    """Compute `_maps_times_values` without dropout and without a pass over the maps for the biases.

    The first bias is the same for all keys, so the softmax cancels it. The second bias adds the
    same multiple of the sum of all values to every output.
    """
    probs = formulas.softmax(formulas.mix(attn.proj_l, scores))
    y = ops.matmul(formulas.mix(attn.proj_w, probs), v)  # (B, H, N, d)
    total = ops.sum(ops.cast(v, stable_dtype(attn.dtype_policy)), axis=2, keepdims=True)
    total = total * ops.cast(attn.proj_w.bias, total.dtype)[:, None, None]  # (B, H, 1, d)
    return y + ops.cast(total, y.dtype)


def _bias(mixing: Any, maps: Any) -> Any:
    return ops.cast(mixing.bias, maps.dtype)[:, None, None]


def _class_attention(attn: Any, u: Any, formulas: Formulas) -> Any:
    """Compute attention of the class token: ``(B, 1+N, D) -> (B, 1, D)``.

    The function computes neither keys nor values, which saves products. With the key
    kernel K, the value kernel V and the transpose ', q (u K)' = (q K') u', and probs (u V) = (probs u) V.
    """
    u = ops.cast(u, attn.compute_dtype)
    q = _by_head(attn, attn.q(u[:, 0]) * (attn.embed_dim // attn.num_heads) ** -0.5)  # (H, B, d)
    k, v = _by_head(attn, attn.k.kernel), _by_head(attn, attn.v.kernel)  # (H, D, d) each
    k, v = ops.cast(k, u.dtype), ops.cast(v, u.dtype)
    query = _swapped(ops.matmul(q, ops.transpose(k, (0, 2, 1))))  # (B, H, D)
    scores = ops.matmul(query, ops.transpose(u, (0, 2, 1)))  # (B, H, 1+N)
    # The keys' bias adds one number to all scores of a head. It changes no map, but needs a gradient.
    bias = ops.cast(_by_head(attn, attn.k.bias[None]), q.dtype)
    probs = formulas.softmax(scores + _swapped(ops.sum(q * bias, axis=2, keepdims=True)))
    context = _swapped(ops.matmul(probs, u))  # (H, B, D)
    y = ops.reshape(_swapped(ops.matmul(context, v)), (-1, 1, attn.embed_dim))
    return attn.proj(y + ops.cast(attn.v.bias, y.dtype))  # (B, 1, D)


def _by_head(attn: Any, rows: Any) -> Any:
    """Split rows by head: ``(R, D) -> (H, R, d)``."""
    return _swapped(ops.reshape(rows, (-1, attn.num_heads, attn.embed_dim // attn.num_heads)))


def _swapped(x: Any) -> Any:
    return ops.transpose(x, (1, 0, 2))


def _mlp(mlp: Any, x: Any, formulas: Formulas, training: bool = False) -> Any:
    rows = mlp.drop1(formulas.activate(mlp.fc1, _rows(x)), training=training)  # (B*N, hidden)
    rows = mlp.drop2(mlp.fc2(rows), training=training)  # (B*N, D)
    return ops.reshape(rows, (-1, x.shape[1], mlp.embed_dim))  # (B, N, D)
