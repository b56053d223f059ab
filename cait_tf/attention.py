"""Talking-heads attention of the trunk, and class attention.

Shapes: B images, N patches, D ``embed_dim``, H ``num_heads``, d = D / H.
"""

from __future__ import annotations

from typing import Any

import keras

from cait_tf.keras_ops import ops
from cait_tf.layers import dense, softmax, trunc_normal
from cait_tf.variants import KERNEL_INIT


class HeadMixing(keras.layers.Layer):
    """Mix attention maps across heads: ``(B, H, N, M) -> (B, H, N, M)``.

    A linear layer over the head axis: timm's ``proj_l`` and ``proj_w`` without their
    transpositions.
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
        heads, n, m = maps.shape[1:]
        flat = ops.reshape(maps, (-1, heads, n * m))  # (B, H, N*M)
        mixed = ops.reshape(ops.matmul(ops.transpose(self.kernel), flat), (-1, heads, n, m))
        return mixed + self.bias[:, None, None]

    def get_config(self) -> dict:
        own = {"num_heads": self.num_heads, "kernel_init": self.kernel_init}
        return {**super().get_config(), **own}


class TalkingHeadAttention(keras.layers.Layer):
    """Self-attention whose maps are mixed across heads before and after the softmax.

    ``(B, N, D) -> (B, N, D)``. With ``return_attention=True`` the call also returns the attention
    maps (B, H, N, N), after the second mixing. Shazeer et al. 2020,
    https://arxiv.org/abs/2003.02436.
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
        n, d = x.shape[1], self.embed_dim // self.num_heads
        qkv = ops.reshape(self.qkv(x), (-1, n, 3, self.num_heads, d))  # (B, N, 3, H, d)
        q, k, v = ops.unstack(ops.transpose(qkv, (2, 0, 3, 1, 4)), 3)  # (B, H, N, d) each
        maps = ops.matmul(q * d**-0.5, ops.transpose(k, (0, 1, 3, 2)))  # (B, H, N, N)
        maps = self.proj_w(softmax(self.proj_l(maps)))
        y = ops.matmul(self.attn_drop(maps, training=training), v)  # (B, H, N, d)
        y = ops.reshape(ops.transpose(y, (0, 2, 1, 3)), (-1, n, self.embed_dim))  # (B, N, D)
        y = self.proj_drop(self.proj(y), training=training)
        return (y, maps) if return_attention else y

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

    Section 3 of the CaiT paper. With ``return_attention=True`` the call also returns the attention
    maps (B, H, 1, 1+N), after the softmax.
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
        d = self.embed_dim // self.num_heads
        q, k, v = (
            ops.transpose(ops.reshape(one, (-1, one.shape[1], self.num_heads, d)), (0, 2, 1, 3))
            for one in (self.q(u[:, :1]), self.k(u), self.v(u))
        )  # (B, H, 1 or 1+N, d) each
        maps = softmax(ops.matmul(q * d**-0.5, ops.transpose(k, (0, 1, 3, 2))))  # (B, H, 1, 1+N)
        y = ops.transpose(ops.matmul(maps, v), (0, 2, 1, 3))  # (B, 1, H, d)
        y = self.proj(ops.reshape(y, (-1, 1, self.embed_dim)))  # (B, 1, D)
        return (y, maps) if return_attention else y

    def get_config(self) -> dict:
        own = {
            "embed_dim": self.embed_dim,
            "num_heads": self.num_heads,
            "kernel_init": self.kernel_init,
        }
        return {**super().get_config(), **own}
