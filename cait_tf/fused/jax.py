"""CaiT's two blocks for JAX, where a step is one XLA program."""

from __future__ import annotations

import functools
import operator
from typing import Any

from cait_tf.fused import portable, thresholds
from cait_tf.keras_ops import ops
from cait_tf.layers import stable_dtype


def self_attention_block(block: Any, x: Any, factors: tuple, training: bool) -> Any:
    """Compute a `SelfAttentionBlock`: ``(B, N, D) -> (B, N, D)``."""
    return portable.self_attention_block(block, x, factors, training, _FORMULAS)


def class_attention_block(block: Any, cls: Any, patches: Any, training: bool) -> Any:
    """Compute a `ClassAttentionBlock`: ``(B, 1, D), (B, N, D) -> (B, 1, D)``."""
    return portable.class_attention_block(block, cls, patches, _FORMULAS)


def _mix(mixing: Any, maps: Any) -> Any:
    """Mix heads without the bias. Mix few heads as a sum, which XLA fuses with the softmax."""
    if mixing.num_heads > thresholds.FEW_HEADS_JAX:
        return portable.matmul_mix(mixing, maps)
    wide, kernel = (
        ops.cast(one, stable_dtype(mixing.dtype_policy)) for one in (maps, mixing.kernel)
    )
    parts = (wide[:, head, None] * kernel[head, :, None, None] for head in range(mixing.num_heads))
    return ops.cast(functools.reduce(operator.add, parts), maps.dtype)  # (B, H, N, N)


_FORMULAS = portable.Formulas(mix=_mix)
