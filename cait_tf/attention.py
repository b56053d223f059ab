"""Talking-heads attention of the trunk, and class attention.

Shapes: B images, N patches, D ``embed_dim``, H ``num_heads``, d = D / H.
"""

from __future__ import annotations

import functools
import operator
from types import ModuleType
from typing import Any

import keras
from keras import ops

from cait_tf.layers import (
    as_rows,
    dense,
    softmax,
    stable_dtype,
    tensorflow_kernels,
    trunc_normal,
)
from cait_tf.variants import KERNEL_INIT

_FEW_HEADS = 8  # of the trunks that have 4 and 8; the sum costs their square


class HeadMixing(keras.layers.Layer):
    """Mix attention maps across heads: ``(B, H, N, M) -> (B, H, N, M)``.

    A dense layer over the head axis. With the maps flattened, one product with the transposed kernel
    does it without moving a byte, which beats both transpose + dense and einsum. Where a step is one
    XLA program, as under JAX, a sum over few heads is fused with the softmax beside it: an attention of
    cait_xxs24_224 takes 1.8 ms, not 3.1, of an H200's training step of 256 images.
    """

    def __init__(self, num_heads: int, kernel_init: float = KERNEL_INIT, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads
        self.kernel_init = kernel_init

    def build(self, input_shape: tuple) -> None:
        heads = self.num_heads
        self.kernel = self.add_weight(
            shape=(heads, heads), initializer=trunc_normal(self.kernel_init), name="kernel"
        )  # (in, out)
        self.bias = self.add_weight(shape=(heads,), initializer="zeros", name="bias")

    def call(self, maps: Any) -> Any:
        return self.mix(maps) + self.bias[:, None, None]

    def mix(self, maps: Any) -> Any:
        """A call but for the bias."""
        if self.num_heads <= _FEW_HEADS and keras.backend.backend() == "jax":
            return self._sum(maps)
        n, m = maps.shape[2], maps.shape[3]
        flat = ops.reshape(maps, (-1, self.num_heads, n * m))  # (B, H, N*M)
        return ops.reshape(ops.matmul(ops.transpose(self.kernel), flat), (-1, self.num_heads, n, m))

    def _sum(self, maps: Any) -> Any:
        wide, kernel = (
            ops.cast(one, stable_dtype(self.dtype_policy)) for one in (maps, self.kernel)
        )
        parts = (
            wide[:, head, None] * kernel[head, :, None, None] for head in range(self.num_heads)
        )
        return ops.cast(functools.reduce(operator.add, parts), maps.dtype)  # (B, H, N, M)

    def get_config(self) -> dict:
        own = {"num_heads": self.num_heads, "kernel_init": self.kernel_init}
        return {**super().get_config(), **own}


class TalkingHeadAttention(keras.layers.Layer):
    """Self-attention whose maps are mixed across heads before and after the softmax.

    Shazeer et al. 2020, https://arxiv.org/abs/2003.02436. ``(B, N, D) -> (B, N, D)``; with
    ``return_attention=True`` also the maps (B, H, N, N), after the second mixing.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        attn_drop_rate: float = 0.0,
        proj_drop_rate: float = 0.0,
        kernel_init: float = KERNEL_INIT,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.attn_drop_rate = attn_drop_rate
        self.proj_drop_rate = proj_drop_rate
        self.kernel_init = kernel_init
        policy = self.dtype_policy
        self.qkv = dense(3 * embed_dim, "qkv", policy, kernel_init)
        self.proj_l = HeadMixing(num_heads, kernel_init, dtype=policy, name="proj_l")
        self.proj_w = HeadMixing(num_heads, kernel_init, dtype=policy, name="proj_w")
        self.attn_drop = keras.layers.Dropout(attn_drop_rate, dtype=policy)
        self.proj = dense(embed_dim, "proj", policy, kernel_init)
        self.proj_drop = keras.layers.Dropout(proj_drop_rate, dtype=policy)

    def build(self, input_shape: tuple) -> None:
        maps = (input_shape[0], self.num_heads, input_shape[1], input_shape[1])
        self.qkv.build(input_shape)
        self.proj_l.build(maps)
        self.proj_w.build(maps)
        self.proj.build(input_shape)

    def call(self, x: Any, return_attention: bool = False, training: bool = False) -> Any:
        n, rows, maps = x.shape[1], as_rows(x), None  # (B*N, D)
        kernels = tensorflow_kernels(training)
        if kernels and not return_attention and not (training and self.attn_drop_rate):
            y = self.of_kernels(kernels, ops.matmul(rows, self.qkv.kernel), n)  # (B*N, D)
        else:
            y, maps = self._attend(rows, n, return_attention, training)
        y = ops.reshape(self.proj(y), (-1, n, self.embed_dim))  # (B, N, D)
        y = self.proj_drop(y, training=training)
        return (y, maps) if return_attention else y

    def of_kernels(self, kernels: ModuleType, product: Any, n: int) -> Any:
        """From queries, keys and values without their bias, ``(B*N, 3D)``, to before `proj`, ``(B*N, D)``."""
        mixings = ((mixing.kernel, mixing.bias) for mixing in (self.proj_l, self.proj_w))
        return kernels.talking_heads(product, self.qkv.bias, *mixings, n)

    def of_parts(self, parts: list[Any]) -> list[Any]:
        """Inference of one image's patches in parts, ``(B, n, D)`` each, every one attending to all."""
        heads = [self._heads(as_rows(x), x.shape[1]) for x in parts]
        k, v = (ops.concatenate([one[i] for one in heads], axis=2) for i in (1, 2))
        results = []
        for x, (q, _, _) in zip(parts, heads, strict=True):
            scores = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2)))  # (B, H, n, N)
            rows = self._joined(self._without_passes_for_biases(scores, v))
            results.append(ops.reshape(self.proj(rows), (-1, x.shape[1], self.embed_dim)))
        return results

    def _attend(self, rows: Any, n: int, return_attention: bool, training: bool) -> tuple:
        """``(B*N, D)`` to the heads' results side by side, ``(B*N, D)``, and the maps or None."""
        q, k, v = self._heads(rows, n)
        scores = ops.matmul(q, ops.transpose(k, (0, 1, 3, 2)))  # (B, H, N, N)
        maps = None
        if return_attention or training:
            maps = self.proj_w(softmax(self.proj_l(scores)))  # (B, H, N, N)
            y = ops.matmul(self.attn_drop(maps, training=training), v)  # (B, H, N, d)
        else:
            y = self._without_passes_for_biases(scores, v)
        return self._joined(y), maps

    def _heads(self, rows: Any, n: int) -> tuple:
        """``(B*n, D)`` to queries, scaled, keys and values, (B, H, n, d) each."""
        d = self.embed_dim // self.num_heads
        qkv = ops.reshape(self.qkv(rows), (-1, n, 3, self.num_heads, d))  # (B, n, 3, H, d)
        q, k, v = ops.unstack(ops.transpose(qkv, (2, 0, 3, 1, 4)), 3)
        return q * d**-0.5, k, v

    def _joined(self, y: Any) -> Any:
        """``(B, H, n, d)`` to ``(B*n, D)``."""
        return ops.reshape(ops.transpose(y, (0, 2, 1, 3)), (-1, self.embed_dim))

    def _without_passes_for_biases(self, scores: Any, v: Any) -> Any:
        """``maps @ v`` where the maps' biases take no pass over them: of the first mixing it is the same
        for all keys, so that the softmax takes it out, of the second it adds as much of the sum of
        all values everywhere."""
        shares = softmax(self.proj_l.mix(scores))
        y = ops.matmul(self.proj_w.mix(shares), v)  # (B, H, N, d)
        total = ops.sum(ops.cast(v, stable_dtype(self.dtype_policy)), axis=2, keepdims=True)
        total = total * ops.cast(self.proj_w.bias, total.dtype)[:, None, None]  # (B, H, 1, d)
        return y + ops.cast(total, y.dtype)

    def get_config(self) -> dict:
        own = {
            "embed_dim": self.embed_dim,
            "num_heads": self.num_heads,
            "attn_drop_rate": self.attn_drop_rate,
            "proj_drop_rate": self.proj_drop_rate,
            "kernel_init": self.kernel_init,
        }
        return {**super().get_config(), **own}


class ClassAttention(keras.layers.Layer):
    """Attention whose only query is the class token: ``(B, 1+N, D) -> (B, 1, D)``.

    Section 3 of the CaiT paper. With ``return_attention=True`` also the maps (B, H, 1, 1+N).
    """

    def __init__(
        self, embed_dim: int, num_heads: int, kernel_init: float = KERNEL_INIT, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.kernel_init = kernel_init
        for name in ("q", "k", "v", "proj"):
            setattr(self, name, dense(embed_dim, name, self.dtype_policy, kernel_init))

    def build(self, input_shape: tuple) -> None:
        for layer in (self.q, self.k, self.v, self.proj):
            layer.build(input_shape)

    def call(self, u: Any, return_attention: bool = False) -> Any:
        # Neither keys nor values are formed, which saves a hundredth of a model's products: with their
        # kernels K and V, q (u K)' = (q K') u', and shares (u V) = (shares u) V.
        q = self._heads(self.q(u[:, 0]) * (self.embed_dim // self.num_heads) ** -0.5)  # (H, B, d)
        k, v = self._heads(self.k.kernel), self._heads(self.v.kernel)  # (H, D, d) each
        query = _swapped(ops.matmul(q, ops.transpose(k, (0, 2, 1))))  # (B, H, D)
        scores = ops.matmul(query, ops.transpose(u, (0, 2, 1)))  # (B, H, 1+N)
        # The keys' bias adds the same to all scores, which changes no map; but it must have a gradient.
        shift = ops.sum(q * self._heads(self.k.bias[None]), axis=2, keepdims=True)  # (H, B, 1)
        maps = softmax(scores + _swapped(shift))
        context = _swapped(ops.matmul(maps, u))  # (H, B, D)
        y = ops.reshape(_swapped(ops.matmul(context, v)), (-1, 1, self.embed_dim)) + self.v.bias
        y = self.proj(y)  # (B, 1, D)
        return (y, maps[:, :, None]) if return_attention else y

    def _heads(self, rows: Any) -> Any:
        """``(R, D) -> (H, R, d)``."""
        return _swapped(ops.reshape(rows, (-1, self.num_heads, self.embed_dim // self.num_heads)))

    def get_config(self) -> dict:
        own = {
            "embed_dim": self.embed_dim,
            "num_heads": self.num_heads,
            "kernel_init": self.kernel_init,
        }
        return {**super().get_config(), **own}


def _swapped(x: Any) -> Any:
    return ops.transpose(x, (1, 0, 2))
