"""What costs most besides matrix products, with gradients by hand, for TensorFlow: CaiT's two blocks.

TensorFlow runs a formula operation by operation, each a pass over memory, and keeps the results of
most for the gradient. Here the forward and the backward formula are each compiled by XLA into one
pass, and only the inputs are kept, or less (`branch`), but for small attention maps. Matrix products
stay with oneDNN, which XLA's are slower than: compiling the whole step makes it slower. Those that mix few
heads at inference are sums (`maps`). XLA is used on a CPU alone; elsewhere the formulas are the same.
They serve inference, too, where it is asked for (`infer`).

On a CPU parts of a batch go side by side, each on one core (`micro_batches`), and what they need of the
weights is made before them (`hoisting`).

A product's bias is added by what follows it, as oneDNN takes as long for it as for the product in
bfloat16: 0.7 and 0.8 ms for queries, keys and values of 16 images of cait_xxs24_224 on two cores.
The same block's other parts, in ms, as operations and as here:

========================================  ==============  ==============
part                                      float32         bfloat16
========================================  ==============  ==============
GELU, forward and back                    7.4 -> 2.3      10.3 -> 2.9
LayerNorm, forward and back               4.9 -> 2.0      5.0 -> 2.0
softmax, forward and back                 4.0 -> 2.8      8.1 -> 3.1
gradients of q, k and v side by side      1.1 -> 0.7      0.8 -> 0.5
========================================  ==============  ==============

Only what is differentiated once can be here: TensorFlow does not know the gradients' gradients.
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
    """`SelfAttentionBlock`: ``(B, N, D) -> (B, N, D)``.

    Args:
        factors: stochastic depth's, (B, 1, 1) for each of the two branches; or none.
    """
    if training and block.has_dropout:
        return portable.self_attention_block(block, x, factors, training, _COMPILED)
    if used(training):
        return _compiled_block(block, x, *(factors or (None, None)))
    half = x.shape[1] // 2
    if splits_patches() and half and block.compute_dtype == "float32" and not factors:
        parts = portable.block_of_parts(block, [x[:, :half], x[:, half:]], _FORMULAS)
        return tf.concat(parts, 1)
    return portable.self_attention_block(block, x, factors, training, _FORMULAS)


def class_attention_block(
    block: Any, cls: tf.Tensor, patches: tf.Tensor, training: bool
) -> tf.Tensor:
    """`ClassAttentionBlock`: ``(B, 1, D), (B, N, D) -> (B, 1, D)``."""
    formulas = _COMPILED if used(training) else _FORMULAS
    return portable.class_attention_block(block, cls, patches, formulas)


def _compiled_block(block: Any, x: tf.Tensor, first: Any, second: Any) -> tf.Tensor:
    """Each residual branch between its two ends, which are one operation with what stands beside them."""
    attn, mlp, dtype = block.attn, block.mlp, block.dtype_policy.compute_dtype

    def enter(x: tf.Tensor, norm: keras.layers.Layer, kernel: Any) -> tf.Tensor:
        return layernorm_matmul(x, (norm.gamma, norm.beta), norm.epsilon, kernel, dtype)

    rows = enter(x, block.norm1, attn.qkv.kernel)  # (B*N, 3D)
    mixings = ((mixing.kernel, mixing.bias) for mixing in (attn.proj_l, attn.proj_w))
    rows = talking_heads(rows, attn.qkv.bias, *mixings, x.shape[1])  # (B*N, D)
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
    """In bfloat16 without casts: oneDNN makes product, bias and GELU one operation, in float32."""
    y = fc1(rows)
    return portable.erf_gelu(y) if y.dtype == tf.bfloat16 and fuses() else portable.gelu(y)


_FORMULAS = portable.Formulas(softmax=softmax, activate=_gelu)
_COMPILED = portable.Formulas(softmax=softmax, activate=_compiled_gelu, norm=_compiled_norm)
