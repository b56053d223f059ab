"""GELU, LayerNorm and the residual connection, each one pass forward and one back.

Shapes: B images, N patches, D ``embed_dim``.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import tensorflow as tf

from cait_tf.tensorflow_kernels.compiled import compiled, exact


def gelu(x: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    """``y Φ(y)`` of ``y = x + bias``, (rows, D) and (D,), in the dtype of `x`; keeps its inputs alone."""

    @tf.custom_gradient
    def activate(x: tf.Tensor, bias: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            dx = _gelu_gradient(x, bias, upstream)
            return dx, column_sums(dx)

        return _gelu(x, bias), gradient

    return activate(*map(tf.convert_to_tensor, (x, bias)))


@compiled
def _gelu(x: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    y = exact(x) + exact(bias)
    return tf.cast(y * _normal_cdf(y), x.dtype)


@compiled
def _gelu_gradient(x: tf.Tensor, bias: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    y = exact(x) + exact(bias)
    density = tf.exp(-0.5 * y * y) / math.sqrt(2 * math.pi)
    return tf.cast(exact(upstream) * (_normal_cdf(y) + y * density), x.dtype)


def _normal_cdf(y: tf.Tensor) -> tf.Tensor:
    return 0.5 * (1.0 + tf.math.erf(y * math.sqrt(0.5)))


def column_sums(x: tf.Tensor) -> tf.Tensor:
    """The sum over all but the last axis, as a product with ones: XLA takes several times as long."""
    rows = tf.reshape(x, [-1, x.shape[-1]])
    return tf.matmul(tf.ones([1, tf.shape(rows)[0]], x.dtype), rows)[0]


def layer_norm(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float, dtype: str
) -> tf.Tensor:
    """LayerNorm over the last axis, ``(..., D)``, rounded to `dtype` at the end; keeps `x` and two
    numbers a row."""

    @tf.custom_gradient
    def norm(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        y, mean, scale = _layer_norm(x, gamma, beta, tf.constant(epsilon, x.dtype), dtype)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
            dx, of_gamma = _layer_norm_gradient(x, gamma, mean, scale, upstream)
            d_beta = tf.cast(column_sums(upstream), beta.dtype)
            return dx, column_sums(of_gamma), d_beta

        return y, gradient

    return norm(*map(tf.convert_to_tensor, (x, gamma, beta)))


@compiled
def _layer_norm(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: tf.Tensor, dtype: str
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    mean = tf.reduce_mean(x, -1, keepdims=True)  # (..., 1)
    centred = x - mean
    scale = tf.math.rsqrt(tf.reduce_mean(centred * centred, -1, keepdims=True) + epsilon)
    return tf.cast(centred * scale * gamma + beta, dtype), mean, scale


@compiled
def _layer_norm_gradient(
    x: tf.Tensor, gamma: tf.Tensor, mean: tf.Tensor, scale: tf.Tensor, upstream: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Of `x`, and the rows of which gamma's is the sum."""
    upstream = tf.cast(upstream, x.dtype)
    normal = (x - mean) * scale  # (..., D)
    inner = upstream * gamma
    along = tf.reduce_mean(inner * normal, -1, keepdims=True)
    dx = scale * (inner - tf.reduce_mean(inner, -1, keepdims=True) - normal * along)
    return dx, upstream * normal


def residual(
    x: tf.Tensor,
    y: tf.Tensor,
    bias: tf.Tensor,
    gamma: tf.Tensor,
    factor: tf.Tensor | None = None,
) -> tf.Tensor:
    """``x + factor * gamma * (y + bias)``, (B, N, D), in the dtype of `x`; keeps its inputs alone.

    Args:
        y: a branch's last product, (B, N, D), whatever its dtype.
        bias: of that product, (D,).
        gamma: LayerScale's, (D,).
        factor: stochastic depth's, (B, 1, 1); it gets no gradient.
    """
    factor = tf.ones([1, 1, 1], x.dtype) if factor is None else tf.cast(factor, x.dtype)

    @tf.custom_gradient
    def add(
        x: tf.Tensor, y: tf.Tensor, bias: tf.Tensor, gamma: tf.Tensor
    ) -> tuple[tf.Tensor, Callable]:
        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
            d_y, of_gamma = _residual_gradient(y, bias, gamma, factor, upstream)
            return upstream, d_y, tf.cast(column_sums(d_y), bias.dtype), column_sums(of_gamma)

        return _residual(x, y, bias, gamma, factor), gradient

    return add(*map(tf.convert_to_tensor, (x, y, bias, gamma)))


@compiled
def _residual(
    x: tf.Tensor, y: tf.Tensor, bias: tf.Tensor, gamma: tf.Tensor, factor: tf.Tensor
) -> tf.Tensor:
    return x + factor * (gamma * (tf.cast(y, x.dtype) + tf.cast(bias, x.dtype)))


@compiled
def _residual_gradient(
    y: tf.Tensor, bias: tf.Tensor, gamma: tf.Tensor, factor: tf.Tensor, upstream: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Of `y`, and the rows of which gamma's is the sum."""
    kept = upstream * factor  # (B, N, D)
    biased = tf.cast(y, kept.dtype) + tf.cast(bias, kept.dtype)
    return tf.cast(kept * gamma, y.dtype), kept * biased
