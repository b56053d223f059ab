"""CaiT's two blocks for TensorFlow, with fused operations between the matrix products.

TensorFlow executes a formula operation by operation. Each operation is a pass over memory, and the
gradient keeps most results. Here XLA compiles the forward and the backward formula into one pass
each, and the gradient keeps only the inputs (`residual` keeps less, `attention` keeps small maps).
oneDNN computes the matrix products, because it is faster than XLA on a CPU. A step that XLA
compiles as a whole is slower. These operations use XLA on a CPU only. Other devices compute the
same formulas operation by operation.

On a CPU the model splits a batch into micro-batches that run in parallel, one on each core
(`micro_batches`). Weights are cast once, before the loop over micro-batches (`hoisting`).

The operation after a product adds the product's bias, because a bias in oneDNN is slow in bfloat16.
``.github/docs/PERFORMANCE.md`` has the measurements.

The operations are differentiable once. TensorFlow has no gradients of their gradients.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from cait_tf.fused import portable
from cait_tf.fused.attention import talking_heads
from cait_tf.fused.compiled import compiled_inference, cpu_alone, fuses, used
from cait_tf.fused.elementwise import gelu, layer_norm
from cait_tf.fused.hoisting import hoisted_weights
from cait_tf.fused.maps import softmax
from cait_tf.fused.micro_batches import (
    concurrent_micro_batches,
    infer,
    micro_batch_count,
    single_threaded_ops,
    split_patches,
    splits_patches,
    tracing_micro_batches,
    training_micro_batches,
)
from cait_tf.fused.residual import layernorm_matmul, residual_matmul
from cait_tf.fused.types import sizes

__all__ = [
    "class_attention_block",
    "compiled_inference",
    "concurrent_micro_batches",
    "cpu_alone",
    "fuses",
    "gelu",
    "hoisted_weights",
    "infer",
    "layer_norm",
    "layernorm_matmul",
    "micro_batch_count",
    "residual_matmul",
    "self_attention_block",
    "single_threaded_ops",
    "softmax",
    "split_patches",
    "splits_patches",
    "talking_heads",
    "tracing_micro_batches",
    "training_micro_batches",
    "used",
]


def self_attention_block(block: Any, x: tf.Tensor, factors: tuple, training: bool) -> tf.Tensor:
    """Compute a `SelfAttentionBlock`: ``(B, N, D) -> (B, N, D)``.

    Args:
        factors: factors (B, 1, 1) of stochastic depth, one for each of the two branches; or empty.
    """
    if training and block.has_dropout:
        return portable.self_attention_block(block, x, factors, training, _COMPILED)
    if used(training):
        return _compiled_block(block, x, *(factors or (None, None)))
    half = sizes(x)[1] // 2
    if splits_patches() and half and block.compute_dtype == "float32" and not factors:
        parts = portable.block_of_parts(block, [x[:, :half], x[:, half:]], _FORMULAS)
        return tf.concat(parts, 1)
    return portable.self_attention_block(block, x, factors, training, _FORMULAS)


def class_attention_block(
    block: Any, cls: tf.Tensor, patches: tf.Tensor, training: bool
) -> tf.Tensor:
    """Compute a `ClassAttentionBlock`: ``(B, 1, D), (B, N, D) -> (B, 1, D)``."""
    formulas = _COMPILED if used(training) else _FORMULAS
    return portable.class_attention_block(block, cls, patches, formulas)


def _compiled_block(block: Any, x: tf.Tensor, first: Any, second: Any) -> tf.Tensor:
    """Compute both residual branches of a trunk block with the compiled operations.

    Args:
        first, second: factors (B, 1, 1) of stochastic depth. `None`: no stochastic depth.
    """
    attn, mlp, dtype = block.attn, block.mlp, block.dtype_policy.compute_dtype

    def enter(x: tf.Tensor, norm: keras.layers.Layer, kernel: Any) -> tf.Tensor:
        return layernorm_matmul(x, (norm.gamma, norm.beta), norm.epsilon, kernel, dtype)

    rows = enter(x, block.norm1, attn.qkv.kernel)  # (B*N, 3D)
    before, after = ((mixing.kernel, mixing.bias) for mixing in (attn.proj_l, attn.proj_w))
    rows = talking_heads(rows, attn.qkv.bias, before, after, sizes(x)[1])  # (B*N, D)
    x = residual_matmul(
        x, rows, attn.proj.kernel, attn.proj.bias, block.gamma_1.gamma, first
    )  # (B, N, D)
    rows = enter(x, block.norm2, mlp.fc1.kernel)  # (B*N, hidden)
    return residual_matmul(
        x, rows, mlp.fc2.kernel, mlp.fc2.bias, block.gamma_2.gamma, second, mlp.fc1.bias
    )


def _compiled_norm(norm: keras.layers.Layer, x: tf.Tensor) -> tf.Tensor:
    dtype = norm.output_dtype or keras.backend.standardize_dtype(x.dtype)
    return layer_norm(tf.cast(x, norm.compute_dtype), norm.gamma, norm.beta, norm.epsilon, dtype)


def _compiled_gelu(fc1: keras.layers.Dense, rows: tf.Tensor) -> tf.Tensor:
    dtype = fc1.compute_dtype
    return gelu(tf.matmul(tf.cast(rows, dtype), tf.cast(fc1.kernel, dtype)), fc1.bias)


def _gelu(fc1: keras.layers.Dense, rows: tf.Tensor) -> tf.Tensor:
    """Return ``GELU(fc1(rows))``. Without casts, oneDNN fuses product, bias and GELU in bfloat16.

    The fused operation computes GELU in float32.
    """
    y = fc1(rows)
    return portable.erf_gelu(y) if y.dtype == tf.bfloat16 and fuses() else portable.gelu(y)


_FORMULAS = portable.Formulas(softmax=softmax, activate=_gelu)
_COMPILED = portable.Formulas(softmax=softmax, activate=_compiled_gelu, norm=_compiled_norm)
