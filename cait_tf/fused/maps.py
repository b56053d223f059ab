"""From attention's scores to the maps that weigh the values, and back: heads mixed, softmax, heads mixed.

Shapes: B images, N patches, H heads, d channels of each.
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

# Of a row's sum of exponentials: between these none that matters is infinite or lost, nor is a kernel's
# weight of 1e-13 that is divided by it.
_LEAST_SUM, _GREATEST_SUM = 1e-16, 1e25


def all_maps(
    q: tf.Tensor, k: tf.Tensor, first: tf.Tensor, second: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Scores, the probs that the first mixing of them makes, and the second of those: (B, H, N, N) each.

    Args:
        q, k: (B, H, N, d).
        first, second: the mixings' kernels, (H, H), from head to head.
    """
    scores = tf.matmul(q, k, transpose_b=True)
    probs = softmax(mix(scores, first))
    return scores, probs, mix(probs, second)


def last_map(q: tf.Tensor, k: tf.Tensor, first: tf.Tensor, second: tf.Tensor) -> tf.Tensor:
    """The last of `all_maps`: where few heads are mixed on a CPU in two passes, each compiled by XLA.

    They take no maximum off before the exponentials, which would be a pass more. Where the sums of these
    show that it should have been, the three steps are taken instead, for all images of the part.
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
    """The second mixing of every row's probs, and whether their sums are such that it is right."""
    sums = row_sums(exponentials)  # (B, H, N, 1)
    sound = tf.reduce_all((sums > _LEAST_SUM) & (sums < _GREATEST_SUM))  # not, if one is NaN
    return to_compute_dtype(_sum_of_heads(exponentials, kernel, 1 / sums), dtype), sound


def map_gradient(probs: tf.Tensor, upstream: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """The gradient of what the softmax made `probs` of, (B, H, N, N).

    Args:
        upstream: the gradient of ``mix(probs, kernel)``.
    """
    back = tf.transpose(kernel)
    if _summed(kernel):
        return _mixed_softmax_gradient(probs, upstream, back)
    return _softmax_gradient(probs, mix(upstream, back))


def kernel_gradient(inputs: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    """Of the kernel of ``mix(inputs, kernel)``: (B, H, N, N) twice to (H, H), at least in float32."""
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
    """`mix` as a sum, which XLA makes one pass with what stands around it; of ``factors * maps``, if given."""
    kernel = to_float32(kernel)
    parts = []
    for head in range(kernel.shape[0]):
        weights = kernel[head, :, None, None]  # (H, 1, 1)
        weights = weights if factors is None else weights * factors[:, head, None]  # (B, H, N, 1)
        parts.append(weights * maps[:, head, None])
    return functools.reduce(operator.add, parts)  # (B, H, N, N)


def flat(maps: tf.Tensor) -> tf.Tensor:
    """``(B, H, N, N) -> (B, H, N*N)``."""
    return tf.reshape(maps, [-1, maps.shape[1], maps.shape[2] * maps.shape[3]])


def mix(maps: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Every head's map as a sum of all of them: ``(B, H, N, N)`` by ``(H, H)``, from head to head."""
    if _summed(kernel):
        return _summed_heads(maps, kernel)
    mixed = tf.matmul(kernel, flat(maps), transpose_a=True)  # (B, H, N*N)
    return tf.reshape(mixed, [-1, *maps.shape[1:]])


@compiled
def _summed_heads(maps: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    return to_compute_dtype(_sum_of_heads(to_float32(maps), kernel), maps.dtype)


def _summed(kernel: tf.Tensor) -> bool:
    """Whether heads are mixed by XLA, and not by a product."""
    return kernel.shape[0] <= thresholds.FEW_HEADS_CPU and compiles()


def softmax(x: tf.Tensor) -> tf.Tensor:
    """Over the last axis, computed in float32, same dtype as `x`."""
    if x.dtype == tf.bfloat16:
        return tf.nn.softmax(x)  # which is; two casts would be two more passes
    return tf.cast(tf.nn.softmax(to_float32(x)), x.dtype)
