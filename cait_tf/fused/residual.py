"""Fuse both ends of a residual branch: LayerNorm and first product, last product and addition.

A fused product does not keep its input for the gradient of its kernel. The backward pass computes
the outputs of LayerNorm and GELU again, together with their gradients. It does not need the
branch's output for the gradient of LayerScale's gamma either. Let ``y = gamma * (a @ W + b)``, and
let G and g be the gradients of W and b for gamma = 1. The gradient of gamma is the sum of ``W * G``
over the inputs, plus ``b * g``.

Shapes: B images, N patches, D ``embed_dim``, R = B*N rows; C and K channels.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from cait_tf.fused.casts import to_float32
from cait_tf.fused.compiled import compiled
from cait_tf.fused.elementwise import (
    activated,
    activation_gradient,
    column_sums,
    normalised,
    normalised_gradient,
)
from cait_tf.fused.hoisting import hoist
from cait_tf.fused.types import custom_gradient


def layernorm_matmul(
    x: tf.Tensor,
    norm: tuple[tf.Tensor, tf.Tensor],
    epsilon: float,
    kernel: tf.Tensor,
    dtype: str,
) -> tf.Tensor:
    """Return ``LayerNorm(x) @ kernel``: ``(B, N, D) -> (R, C)``.

    The gradient keeps `x`, the kernel in `dtype`, and two numbers per row.

    Args:
        norm: gamma and beta of LayerNorm, (D,) each.
        epsilon: epsilon of LayerNorm.
        kernel: (D, C), in any dtype.
        dtype: dtype of the product. The output of LayerNorm is rounded to this dtype.
    """
    rounded = hoist(_rounded, dtype, kernel)

    @custom_gradient
    def enter(
        x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, kernel: tf.Tensor
    ) -> tuple[tf.Tensor, Callable]:
        y, mean, scale = normalised(x, gamma, beta, tf.constant(epsilon, x.dtype), dtype)
        right = rounded(kernel)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
            d_y = tf.reshape(tf.matmul(upstream, right, transpose_b=True), tf.shape(x))
            dx, of_gamma, again = normalised_gradient(x, gamma, beta, mean, scale, d_y)
            d_kernel = tf.matmul(_rows(again), upstream, transpose_a=True)  # (D, C)
            d_beta = tf.cast(column_sums(d_y), beta.dtype)
            return dx, column_sums(of_gamma), d_beta, tf.cast(d_kernel, kernel.dtype)

        return tf.matmul(_rows(y), right), gradient

    return enter(*map(tf.convert_to_tensor, (x, *norm, kernel)))


def residual_matmul(
    x: tf.Tensor,
    branch: tf.Tensor,
    kernel: tf.Tensor,
    bias: tf.Tensor,
    gamma: tf.Tensor,
    factor: tf.Tensor | None = None,
    gelu_bias: tf.Tensor | None = None,
) -> tf.Tensor:
    """Return ``x + factor * gamma * (branch @ kernel + bias)``, (B, N, D), in the dtype of `x`.

    The gradient keeps only one activation, `branch`.

    Args:
        x: the residual stream, (B, N, D).
        branch: (R, K). The product is computed in its dtype.
        kernel: kernel of the branch's last product, (K, D), in any dtype.
        bias: bias of that product, (D,), in any dtype.
        gamma: gamma of LayerScale, (D,).
        factor: factor of stochastic depth, (B, 1, 1). It gets no gradient. `None`: no stochastic
            depth.
        gelu_bias: (K,). If given, ``GELU(branch + gelu_bias)`` replaces `branch` in the product.
    """
    dtype = branch.dtype.name
    activate = gelu_bias is not None
    rounded, scaled = hoist(_rounded, dtype, kernel), hoist(_scaled, dtype, kernel, gamma)
    # Without GELU nothing uses `gelu_bias`. The zero only keeps the number of arguments the same.
    gelu_bias = tf.zeros([1], dtype) if gelu_bias is None else gelu_bias

    @custom_gradient
    def leave(
        x: tf.Tensor,
        branch: tf.Tensor,
        gelu_bias: tf.Tensor,
        kernel: tf.Tensor,
        bias: tf.Tensor,
        gamma: tf.Tensor,
    ) -> tuple[tf.Tensor, Callable]:
        inputs = activated(branch, gelu_bias) if activate else branch  # (R, K)
        y = tf.reshape(tf.matmul(inputs, rounded(kernel)), tf.shape(x))

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
            kept = _rows(_kept(upstream, factor, dtype))  # (R, D)
            d_branch = tf.matmul(kept, scaled(kernel, gamma), transpose_b=True)  # (R, K)
            again, d_gelu_bias = branch, tf.zeros_like(gelu_bias)
            if activate:
                d_branch, again = activation_gradient(branch, gelu_bias, d_branch)
                d_gelu_bias = tf.cast(column_sums(d_branch), gelu_bias.dtype)
            of_kernel = to_float32(tf.matmul(again, kept, transpose_a=True))  # (K, D)
            of_bias = to_float32(column_sums(kept))  # (D,)
            d_gamma = tf.reduce_sum(to_float32(kernel) * of_kernel, 0) + to_float32(bias) * of_bias
            return (
                upstream,
                d_branch,
                d_gelu_bias,
                tf.cast(of_kernel * to_float32(gamma), kernel.dtype),
                tf.cast(of_bias * to_float32(gamma), bias.dtype),
                tf.cast(d_gamma, gamma.dtype),
            )

        return _added(x, y, bias, gamma, factor), gradient

    return leave(*map(tf.convert_to_tensor, (x, branch, gelu_bias, kernel, bias, gamma)))


def _rounded(dtype: str, kernel: tf.Tensor) -> tf.Tensor:
    return tf.cast(kernel, dtype)


def _scaled(dtype: str, kernel: tf.Tensor, gamma: tf.Tensor) -> tf.Tensor:
    return tf.cast(to_float32(kernel) * to_float32(gamma), dtype)  # (K, D)


def _rows(x: tf.Tensor) -> tf.Tensor:
    return tf.reshape(x, [-1, x.shape[-1]])  # (R, D)


def _kept(upstream: tf.Tensor, factor: tf.Tensor | None, dtype: str) -> tf.Tensor:
    """Return the gradient that reaches the branch, (B, N, D). Without a factor, only cast it."""
    if factor is None:
        return tf.cast(upstream, dtype)
    return _times(upstream, tf.cast(factor, upstream.dtype), dtype)


@compiled
def _times(x: tf.Tensor, factor: tf.Tensor, dtype: str) -> tf.Tensor:
    return tf.cast(x * factor, dtype)


@compiled
def _added(
    x: tf.Tensor, y: tf.Tensor, bias: tf.Tensor, gamma: tf.Tensor, factor: tf.Tensor | None
) -> tf.Tensor:
    branch = tf.cast(gamma, x.dtype) * (tf.cast(y, x.dtype) + tf.cast(bias, x.dtype))
    return x + (branch if factor is None else tf.cast(factor, x.dtype) * branch)
