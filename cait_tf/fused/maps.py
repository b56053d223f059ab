"""Attention maps from scores, and their gradients: mix heads, softmax, mix heads again.

Shapes: B images, N patches, H heads, d channels per head.
"""

from __future__ import annotations

import functools
import operator

import tensorflow as tf

from cait_tf.fused import thresholds
from cait_tf.fused.approximations import exponential
from cait_tf.fused.casts import to_compute_dtype, to_float32
from cait_tf.fused.compiled import compiled, compiles
from cait_tf.fused.elementwise import row_sums
from cait_tf.fused.types import sizes

# Bounds of a row's sum of exponentials. Between the bounds no exponential is infinite, and none
# that matters underflows. A kernel's weight of 1e-12 divided by the sum does not underflow either.
_LEAST_SUM, _GREATEST_SUM = 1e-16, 1e25


def all_maps(
    q: tf.Tensor, k: tf.Tensor, first: tf.Tensor, second: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return scores, probs after the first mixing and softmax, and probs after the second mixing.

    Args:
        q, k: scaled queries and keys, (B, H, N, d).
        first, second: kernels of the two mixings, (H in, H out).

    Returns:
        Three tensors (B, H, N, N).
    """
    scores = tf.matmul(q, k, transpose_b=True)
    probs = softmax(mix(scores, first))
    return scores, probs, mix(probs, second)


def last_map(q: tf.Tensor, k: tf.Tensor, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """Return the last map of `all_maps`, (B, H, N, N), with fewer passes for few heads on a CPU.

    For few heads on a CPU, XLA compiles two passes. They do not subtract the maximum before the
    exponentials, because that takes a third pass. If a sum of exponentials is out of bounds, the
    function computes the maps of all images of the micro-batch again, with the maximum subtracted.
    """
    if not _summed(first):
        return all_maps(q, k, first, second)[-1]
    scores = tf.matmul(q, k, transpose_b=True)
    mixed, sound = _mixed_shares(_exponentials(scores, first), second, scores.dtype.name)
    return tf.cond(sound, lambda: mixed, lambda: mix(softmax(mix(scores, first)), second))


@compiled
def _exponentials(scores: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    return exponential(_sum_of_heads(to_float32(scores), kernel), scores.dtype)


@compiled
def _mixed_shares(
    exponentials: tf.Tensor, kernel: tf.Tensor, dtype: str
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the second mixing of the probs, and whether every row's sum is within bounds."""
    sums = row_sums(exponentials)  # (B, H, N, 1)
    sound = tf.reduce_all((sums > _LEAST_SUM) & (sums < _GREATEST_SUM))  # False if a sum is NaN
    return to_compute_dtype(_sum_of_heads(exponentials, kernel, 1 / sums), dtype), sound


def map_gradient(probs: tf.Tensor, upstream: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Return the gradient of the softmax's input, (B, H, N, N).

    Args:
        probs: output of the softmax, (B, H, N, N).
        upstream: gradient of ``mix(probs, kernel)``.
        kernel: kernel of the second mixing, (H, H).
    """
    back = tf.transpose(kernel)
    if _summed(kernel):
        return _mixed_softmax_gradient(probs, upstream, back)
    return _softmax_gradient(probs, mix(upstream, back))


def kernel_gradient(inputs: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    """Return the gradient of the kernel of ``mix(inputs, kernel)``, (H, H), in float32 or float64.

    Args:
        inputs: (B, H, N, N).
        upstream: gradient of the mixed maps, (B, H, N, N).
    """
    inputs, upstream = flat(inputs), flat(upstream)
    images = inputs.shape[0]
    if (
        compiles()
        and inputs.dtype == tf.float32
        and images is not None
        and images <= thresholds.FEW_IMAGES
    ):
        pairs = zip(tf.unstack(inputs), tf.unstack(upstream), strict=True)
        return tf.add_n([tf.matmul(one, other, transpose_b=True) for one, other in pairs])
    of_each = tf.matmul(inputs, upstream, transpose_b=True)  # (B, H, H)
    return tf.reduce_sum(to_float32(of_each), 0)


@compiled
def _mixed_softmax_gradient(probs: tf.Tensor, upstream: tf.Tensor, back: tf.Tensor) -> tf.Tensor:
    return _softmax_gradient(probs, _sum_of_heads(to_float32(upstream), back))


@compiled
def _softmax_gradient(probs: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    p, g = to_float32(probs), to_float32(upstream)
    return to_compute_dtype(p * (g - row_sums(p * g)), probs.dtype)


def _sum_of_heads(
    maps: tf.Tensor, kernel: tf.Tensor, factors: tf.Tensor | None = None
) -> tf.Tensor:
    """Mix heads as a sum, which XLA fuses with the operations around it.

    Args:
        factors: (B, H, N, 1). If given, mix ``factors * maps`` instead of `maps`.
    """
    kernel = to_float32(kernel)
    parts = []
    for head in range(sizes(kernel)[0]):
        weights = kernel[head, :, None, None]  # (H, 1, 1)
        weights = weights if factors is None else weights * factors[:, head, None]  # (B, H, N, 1)
        parts.append(weights * maps[:, head, None])
    return functools.reduce(operator.add, parts)  # (B, H, N, N)


def flat(maps: tf.Tensor) -> tf.Tensor:
    """``(B, H, N, N) -> (B, H, N*N)``."""
    _, heads, n, m = sizes(maps)
    return tf.reshape(maps, [-1, heads, n * m])


def mix(maps: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Mix the maps across heads: ``(B, H, N, N)`` with a kernel ``(H in, H out)``."""
    if _summed(kernel):
        return _summed_heads(maps, kernel)
    mixed = tf.matmul(kernel, flat(maps), transpose_a=True)  # (B, H, N*N)
    return tf.reshape(mixed, [-1, *maps.shape[1:]])


@compiled
def _summed_heads(maps: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    return to_compute_dtype(_sum_of_heads(to_float32(maps), kernel), maps.dtype)


def _summed(kernel: tf.Tensor) -> bool:
    """Whether XLA mixes the heads as a sum, instead of a matrix product."""
    return sizes(kernel)[0] <= thresholds.FEW_HEADS_CPU and compiles()


def softmax(x: tf.Tensor) -> tf.Tensor:
    """Return the softmax over the last axis in the dtype of `x`, computed in float32 or float64."""
    if x.dtype == tf.bfloat16:
        return tf.nn.softmax(x)  # computes in float32 by itself; casts would add two passes
    return tf.cast(tf.nn.softmax(to_float32(x)), x.dtype)
