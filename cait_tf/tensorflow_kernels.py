"""What training costs most besides matrix products, with gradients by hand, for TensorFlow.

TensorFlow runs a formula operation by operation, each a pass over memory, and keeps the results of
most for the gradient. Here the forward and the backward formula are each compiled by XLA into one
pass, and only the inputs are kept. Matrix products stay with oneDNN, which XLA's are slower than:
compiling the whole step makes it slower. XLA is used on a CPU alone; elsewhere the formulas are the
same.

In ms, of a block of cait_xxs24_224 with 16 images on two cores (forward and backward, operation by
operation, then as here):

============  ==============  ==============
part          float32         bfloat16
============  ==============  ==============
GELU          7.4 -> 2.6      10.3 -> 3.0
LayerNorm     4.9 -> 3.4      5.0 -> 3.8
softmax       4.0 -> 3.9      8.1 -> 3.6
============  ==============  ==============

Only what is differentiated once can be here: TensorFlow does not know the gradients' gradients.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf


def _compiled(function: Callable) -> Callable:
    fused = tf.function(function, jit_compile=True, autograph=False)

    @functools.wraps(function)
    def call(*inputs: tf.Tensor) -> Any:
        return fused(*inputs) if _cpu_alone() else function(*inputs)

    return call


@functools.cache
def _cpu_alone() -> bool:
    return {device.device_type for device in tf.config.list_logical_devices()} == {"CPU"}


def fuses() -> bool:
    """Whether what follows a product is made one operation with it, in oneDNN's float32."""
    return _cpu_alone() and not tf.executing_eagerly()


def _exact(x: tf.Tensor) -> tf.Tensor:
    """In float32 what is in half precision."""
    return x if x.dtype == tf.float64 else tf.cast(x, tf.float32)


@tf.custom_gradient
def gelu(x: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """``x Φ(x)``, same shape and dtype as `x`; keeps `x` alone."""
    return _gelu(x), lambda upstream: _gelu_gradient(x, upstream)


@_compiled
def _gelu(x: tf.Tensor) -> tf.Tensor:
    y = _exact(x)
    return tf.cast(y * _normal_cdf(y), x.dtype)


@_compiled
def _gelu_gradient(x: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    y = _exact(x)
    density = tf.exp(-0.5 * y * y) / math.sqrt(2 * math.pi)
    return tf.cast(_exact(upstream) * (_normal_cdf(y) + y * density), x.dtype)


def _normal_cdf(y: tf.Tensor) -> tf.Tensor:
    return 0.5 * (1.0 + tf.math.erf(y * math.sqrt(0.5)))


def layer_norm(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: float) -> tf.Tensor:
    """LayerNorm over the last axis, ``(..., D)``; keeps `x` and two numbers a row."""

    @tf.custom_gradient
    def norm(x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        y, mean, scale = _layer_norm(x, gamma, beta, tf.constant(epsilon, x.dtype))
        return y, lambda upstream: _layer_norm_gradient(x, gamma, mean, scale, upstream)

    return norm(*map(tf.convert_to_tensor, (x, gamma, beta)))


@_compiled
def _layer_norm(
    x: tf.Tensor, gamma: tf.Tensor, beta: tf.Tensor, epsilon: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    mean = tf.reduce_mean(x, -1, keepdims=True)  # (..., 1)
    centred = x - mean
    scale = tf.math.rsqrt(tf.reduce_mean(centred * centred, -1, keepdims=True) + epsilon)
    return centred * scale * gamma + beta, mean, scale


@_compiled
def _layer_norm_gradient(
    x: tf.Tensor, gamma: tf.Tensor, mean: tf.Tensor, scale: tf.Tensor, upstream: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    rows = list(range(len(x.shape) - 1))
    normal = (x - mean) * scale  # (..., D)
    inner = upstream * gamma
    along = tf.reduce_mean(inner * normal, -1, keepdims=True)
    dx = scale * (inner - tf.reduce_mean(inner, -1, keepdims=True) - normal * along)
    return dx, tf.reduce_sum(upstream * normal, rows), tf.reduce_sum(upstream, rows)


def talking_heads(
    q: tf.Tensor,
    k: tf.Tensor,
    v: tf.Tensor,
    before: tuple[tf.Tensor, tf.Tensor],
    after: tuple[tf.Tensor, tf.Tensor],
) -> tf.Tensor:
    """Attention with heads mixed before and after the softmax: ``(B, H, N, d)`` from three such.

    Of the four maps ``(B, H, N, N)`` on the way, the one after the softmax is kept; the scores and
    the mixed map are computed again for the gradient, by one product each. The biases
    take no pass over the maps: the first mixing's is the same for all keys, so that the softmax takes
    it out and its gradient is exactly zero; the second's adds as much of the sum of all values
    everywhere.

    Args:
        q: scaled.
        before, after: kernel (H, H), from head to head, and bias (H,) of each mixing.
    """

    @tf.custom_gradient
    def attend(
        q: tf.Tensor,
        k: tf.Tensor,
        v: tf.Tensor,
        kernel_l: tf.Tensor,
        bias_l: tf.Tensor,
        kernel_w: tf.Tensor,
        bias_w: tf.Tensor,
    ) -> tuple[tf.Tensor, Callable]:
        shares = _softmax(_mix(_scores(q, k), kernel_l))  # (B, H, N, N)
        bias = _exact(bias_w)[:, None, None]  # (H, 1, 1)

        def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, ...]:
            d_maps = tf.matmul(upstream, v, transpose_b=True)  # (B, H, N, N)
            d_v = tf.matmul(_mix(shares, kernel_w), upstream, transpose_a=True)  # (B, H, N, d)
            d_total = _total(upstream)  # (B, H, 1, d)
            d_shares = _mix(d_maps, tf.transpose(kernel_w))
            d_mixed = _softmax_gradient(shares, d_shares)
            d_scores = _mix(d_mixed, tf.transpose(kernel_l))
            return (
                tf.matmul(d_scores, k),
                tf.matmul(d_scores, q, transpose_a=True),
                d_v + tf.cast(bias * d_total, v.dtype),
                _kernel_gradient(_scores(q, k), d_mixed),
                tf.zeros_like(bias_l),
                _kernel_gradient(shares, d_maps),
                tf.cast(tf.reduce_sum(d_total * _total(v), [0, 2, 3]), bias_w.dtype),
            )

        y = tf.matmul(_mix(shares, kernel_w), v)  # (B, H, N, d)
        return y + tf.cast(bias * _total(v), y.dtype), gradient

    return attend(*map(tf.convert_to_tensor, (q, k, v, *before, *after)))


def _scores(q: tf.Tensor, k: tf.Tensor) -> tf.Tensor:
    return tf.matmul(q, k, transpose_b=True)  # (B, H, N, N)


def _flat(maps: tf.Tensor) -> tf.Tensor:
    return tf.reshape(maps, [-1, maps.shape[1], maps.shape[2] * maps.shape[3]])  # (B, H, N*N)


def _mix(maps: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    mixed = tf.matmul(kernel, _flat(maps), transpose_a=True)  # (B, H, N*N)
    return tf.reshape(mixed, [-1, *maps.shape[1:]])


def _softmax(mixed: tf.Tensor) -> tf.Tensor:
    if mixed.dtype == tf.bfloat16:
        return tf.nn.softmax(mixed)  # computed in float32; two casts would be two more passes
    return tf.cast(tf.nn.softmax(_exact(mixed)), mixed.dtype)


def _total(x: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(_exact(x), 2, keepdims=True)  # (B, H, 1, d)


@_compiled
def _softmax_gradient(shares: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    p, g = _exact(shares), _exact(upstream)
    return tf.cast(p * (g - tf.reduce_sum(p * g, -1, keepdims=True)), shares.dtype)


def _kernel_gradient(inputs: tf.Tensor, upstream: tf.Tensor) -> tf.Tensor:
    of_each = tf.matmul(_flat(inputs), _flat(upstream), transpose_b=True)  # (B, H, H)
    return tf.cast(tf.reduce_sum(_exact(of_each), 0), inputs.dtype)
