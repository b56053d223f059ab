"""GELU and LayerNorm, each with one pass over memory forward and one backward."""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

from cait_tf.fused.approximations import normal_cdf
from cait_tf.fused.casts import to_compute_dtype, to_float32
from cait_tf.fused.compiled import compiled, exact_products
from cait_tf.fused.types import custom_gradient, sizes


def gelu(x: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Return ``y Φ(y)`` for ``y = x + bias``, in the dtype of `x`.

    The gradient keeps only the inputs.

    Args:
        x: (rows, D).
        bias: (D,).
    """

    @custom_gradient
    def activate(x: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            dx, _ = activation_gradient(x, bias, upstream)
            return dx, tf.cast(column_sums(dx), bias.dtype)

        return activated(x, bias), gradient

    return activate(*map(tf.convert_to_tensor, (x, bias)))


@compiled
def activated(x: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """Return `gelu` without a custom gradient."""
    y = to_float32(x) + to_float32(bias)
    return to_compute_dtype(y * normal_cdf(y, x.dtype), x.dtype)


@compiled
def activation_gradient(
    x: tf.Tensor, bias: tf.Tensor, upstream: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Return the gradient for `x`, and the output of `activated`, computed again."""
    y = to_float32(x) + to_float32(bias)
    below = normal_cdf(y, x.dtype)
    density = tf.exp(-0.5 * y * y) / math.sqrt(2 * math.pi)
    slope = below + y * density
    return to_compute_dtype(to_float32(upstream) * slope, x.dtype), to_compute_dtype(
        y * below, x.dtype
    )


def row_sums(x: tf.Tensor) -> tf.Tensor:
    """Sum over the last axis: ``(..., D) -> (..., 1)``. On a CPU this is a product with ones.

    XLA's reduction on a CPU adds one number at a time, which is slower than the product.
    """
    if exact_products():
        return tf.matmul(x, tf.ones([x.shape[-1], 1], x.dtype))
    return tf.reduce_sum(x, -1, keepdims=True)


def _row_means(x: tf.Tensor) -> tf.Tensor:
    return row_sums(x) / sizes(x)[-1]  # (..., 1)


def column_sums(x: tf.Tensor) -> tf.Tensor:
    """Sum over all axes but the last: ``(..., D) -> (D,)``; on a CPU, as a product with ones."""
    rows = x if len(x.shape) == 2 else tf.reshape(x, [-1, x.shape[-1]])
    if exact_products():
        count = rows.shape[0] or tf.shape(rows)[0]  # a static shape adds no nodes to the graph
        return tf.squeeze(tf.matmul(tf.ones([1, count], x.dtype), rows), 0)
    return tf.cast(tf.reduce_sum(to_float32(rows), 0), x.dtype)


def layer_norm(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float, dtype: str
) -> tf.Tensor:
    """Return LayerNorm over the last axis, ``(..., D)``, rounded to `dtype` at the end.

    The gradient keeps `x` and two numbers per row: the mean and the inverse deviation.
    """

    @custom_gradient
    def norm(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        y, mean, scale = normalised(x, gamma, beta, tf.constant(epsilon, x.dtype), dtype)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
            dx, of_gamma, _ = normalised_gradient(x, gamma, beta, mean, scale, upstream)
            d_beta = tf.cast(column_sums(upstream), beta.dtype)
            return dx, column_sums(of_gamma), d_beta

        return y, gradient

    return norm(*map(tf.convert_to_tensor, (x, gamma, beta)))


@compiled
def normalised(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: tf.Tensor, dtype: str
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return `layer_norm` without a custom gradient, and each row's mean and inverse deviation."""
    mean = _row_means(x)  # (..., 1)
    centred = x - mean
    scale = tf.math.rsqrt(_row_means(centred * centred) + epsilon)
    return to_compute_dtype(centred * scale * gamma + beta, dtype), mean, scale


@compiled
def normalised_gradient(
    x: tf.Tensor,
    gamma: tf.Tensor,
    beta: tf.Tensor,
    mean: tf.Tensor,
    scale: tf.Tensor,
    upstream: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Return the gradients of `normalised` for `x` and for gamma, and its output, computed again.

    Returns:
        Three tensors ``(..., D)``. The second is not summed: its `column_sums` are gamma's
        gradient.
    """
    dtype, upstream = upstream.dtype, tf.cast(upstream, x.dtype)
    normal = (x - mean) * scale  # (..., D)
    inner = upstream * gamma
    along = _row_means(inner * normal)
    dx = scale * (inner - _row_means(inner) - normal * along)
    return dx, upstream * normal, to_compute_dtype(normal * gamma + beta, dtype)
