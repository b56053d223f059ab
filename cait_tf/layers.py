"""The layers of CaiT, in `keras.ops`: they run on every Keras backend.

The mathematics is that of "Going deeper with Image Transformers" (Touvron et al. 2021,
https://arxiv.org/abs/2103.17239) as in the authors' code and timm's ``models/cait.py``; layer and
variable names follow timm so that a weight's name can be derived from its path.

Shapes: B images, N patches, D ``embed_dim``, H ``num_heads``, d = D / H.

Mixed precision: matrix products run in the compute dtype; the residual stream, LayerNorm, LayerScale
and softmax stay in float32. A gamma of 1e-6 is subnormal in float16, and an update that small is
lost when added to a bfloat16 residual; PyTorch's autocast promotes the same operations.
"""

from __future__ import annotations

import math
from typing import Any

import keras
from keras import ops

LAYER_NORM_EPSILON = 1e-6


def _stable_dtype(policy: keras.DTypePolicy) -> str:
    """The dtype of the operations that must not run in half precision under `policy`."""
    return "float32" if policy.compute_dtype in ("float16", "bfloat16") else policy.compute_dtype


def _trunc_normal() -> keras.initializers.Initializer:
    return keras.initializers.TruncatedNormal(stddev=0.02)


def _dense(units: int, name: str, policy: keras.DTypePolicy) -> keras.layers.Dense:
    return keras.layers.Dense(units, kernel_initializer=_trunc_normal(), dtype=policy, name=name)


def layer_norm(name: str, policy: keras.DTypePolicy) -> keras.layers.LayerNormalization:
    """LayerNorm with CaiT's epsilon of 1e-6 (Keras' default is 1e-3), never in half precision."""
    return keras.layers.LayerNormalization(
        epsilon=LAYER_NORM_EPSILON, dtype=_stable_dtype(policy), name=name
    )


def gelu(x: Any) -> Any:
    """Exact GELU, ``x Φ(x)``, same shape and dtype as `x`.

    Written with erf: `erfc`, to which TensorFlow's own exact GELU lowers, has no ONNX counterpart.
    Computed in float32: in bfloat16 it is the most expensive operation of a block on a CPU.
    """
    y = ops.cast(x, "float32") if keras.backend.standardize_dtype(x.dtype) != "float64" else x
    y = 0.5 * y * (1.0 + ops.erf(y * (1.0 / math.sqrt(2.0))))
    return ops.cast(y, x.dtype)


class PatchEmbed(keras.layers.Layer):
    """Cut the image into patches and project each: ``(B, h, w, 3) -> (B, N, D)``."""

    def __init__(self, patch_size: int, embed_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.patch_size = patch_size
        self.embed_dim = embed_dim
        self.proj = keras.layers.Conv2D(
            embed_dim,
            patch_size,
            strides=patch_size,
            data_format="channels_last",
            # torch's default for a convolution, which the authors left in place: U(±1/sqrt(fan_in)).
            kernel_initializer=keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform"),
            dtype=self.dtype_policy,
            name="proj",
        )

    def build(self, input_shape: tuple) -> None:
        self.proj.build(input_shape)

    def call(self, images: Any) -> Any:
        x = self.proj(images)  # (B, h/p, w/p, D)
        return ops.reshape(x, (-1, x.shape[1] * x.shape[2], self.embed_dim))  # (B, N, D)

    def get_config(self) -> dict:
        own = {"patch_size": self.patch_size, "embed_dim": self.embed_dim}
        return {**super().get_config(), **own}


class LayerScale(keras.layers.Layer):
    """Multiply each channel by a learned gamma, in float32: ``(..., D) -> (..., D)``."""

    def __init__(self, init_value: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.init_value = init_value

    def build(self, input_shape: tuple) -> None:
        self.gamma = self.add_weight(
            shape=(input_shape[-1],),
            initializer=keras.initializers.Constant(self.init_value),
            name="gamma",
        )

    def call(self, x: Any) -> Any:
        return x * self.gamma

    def get_config(self) -> dict:
        return {**super().get_config(), "init_value": self.init_value}


class DropPath(keras.layers.Layer):
    """Stochastic depth: drop a residual branch for whole examples, and rescale those that stay.

    Huang et al. 2016, https://arxiv.org/abs/1603.09382. Identity outside training.
    """

    def __init__(self, rate: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"rate: got {rate}, expected a number in [0, 1)")
        self.rate = rate
        self.seed_generator = keras.random.SeedGenerator() if rate else None

    def call(self, x: Any, training: bool = False) -> Any:
        if not training or not self.rate:
            return x
        keep = 1.0 - self.rate
        shape = (ops.shape(x)[0],) + (1,) * (len(x.shape) - 1)  # (B, 1, ..)
        uniform = keras.random.uniform(shape, dtype="float32", seed=self.seed_generator)
        return x * ops.cast(uniform < keep, x.dtype) * (1.0 / keep)

    def get_config(self) -> dict:
        return {**super().get_config(), "rate": self.rate}


class HeadMixing(keras.layers.Layer):
    """Mix attention maps across heads: ``(B, H, N, M) -> (B, H, N, M)``.

    A dense layer over the head axis. With the maps flattened, one product with the transposed kernel
    does it without moving a byte, which beats both transpose + dense and einsum.
    """

    def __init__(self, num_heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.num_heads = num_heads

    def build(self, input_shape: tuple) -> None:
        heads = self.num_heads
        self.kernel = self.add_weight(
            shape=(heads, heads), initializer=_trunc_normal(), name="kernel"
        )  # (in, out)
        self.bias = self.add_weight(shape=(heads,), initializer="zeros", name="bias")

    def call(self, maps: Any) -> Any:
        n, m = maps.shape[2], maps.shape[3]
        flat = ops.reshape(maps, (-1, self.num_heads, n * m))  # (B, H, N*M)
        flat = ops.matmul(ops.transpose(self.kernel), flat) + self.bias[:, None]
        return ops.reshape(flat, (-1, self.num_heads, n, m))

    def get_config(self) -> dict:
        return {**super().get_config(), "num_heads": self.num_heads}


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
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        self.attn_drop_rate = attn_drop_rate
        self.proj_drop_rate = proj_drop_rate
        policy = self.dtype_policy
        self.qkv = _dense(3 * embed_dim, "qkv", policy)
        self.proj_l = HeadMixing(num_heads, dtype=policy, name="proj_l")
        self.proj_w = HeadMixing(num_heads, dtype=policy, name="proj_w")
        self.attn_drop = keras.layers.Dropout(attn_drop_rate, dtype=policy)
        self.proj = _dense(embed_dim, "proj", policy)
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
        scores = ops.matmul(q * d**-0.5, ops.transpose(k, (0, 1, 3, 2)))  # (B, H, N, N)
        scores = ops.cast(self.proj_l(scores), _stable_dtype(self.dtype_policy))
        maps = ops.cast(ops.softmax(scores, axis=-1), self.compute_dtype)
        maps = self.proj_w(maps)  # (B, H, N, N)
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
        }
        return {**super().get_config(), **own}


class ClassAttention(keras.layers.Layer):
    """Attention whose only query is the class token: ``(B, 1+N, D) -> (B, 1, D)``.

    Section 3 of the CaiT paper. With ``return_attention=True`` also the maps (B, H, 1, 1+N).
    """

    def __init__(self, embed_dim: int, num_heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.embed_dim = embed_dim
        self.num_heads = num_heads
        for name in ("q", "k", "v", "proj"):
            setattr(self, name, _dense(embed_dim, name, self.dtype_policy))

    def build(self, input_shape: tuple) -> None:
        for dense in (self.q, self.k, self.v, self.proj):
            dense.build(input_shape)

    def call(self, u: Any, return_attention: bool = False) -> Any:
        q = self._heads(self.q(u[:, :1]))  # (B, H, 1, d)
        k, v = self._heads(self.k(u)), self._heads(self.v(u))  # (B, H, 1+N, d) each
        scale = (self.embed_dim // self.num_heads) ** -0.5
        scores = ops.matmul(q * scale, ops.transpose(k, (0, 1, 3, 2)))  # (B, H, 1, 1+N)
        scores = ops.cast(scores, _stable_dtype(self.dtype_policy))
        maps = ops.cast(ops.softmax(scores, axis=-1), self.compute_dtype)
        y = ops.transpose(ops.matmul(maps, v), (0, 2, 1, 3))  # (B, 1, H, d)
        y = self.proj(ops.reshape(y, (-1, 1, self.embed_dim)))  # (B, 1, D)
        return (y, maps) if return_attention else y

    def _heads(self, x: Any) -> Any:
        split = (-1, x.shape[1], self.num_heads, self.embed_dim // self.num_heads)
        return ops.transpose(ops.reshape(x, split), (0, 2, 1, 3))  # (B, H, ?, d)

    def get_config(self) -> dict:
        own = {"embed_dim": self.embed_dim, "num_heads": self.num_heads}
        return {**super().get_config(), **own}


class Mlp(keras.layers.Layer):
    """Two dense layers with an exact GELU between: ``(B, N, D) -> (B, N, D)``."""

    def __init__(
        self, hidden_dim: int, embed_dim: int, drop_rate: float = 0.0, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.embed_dim = embed_dim
        self.drop_rate = drop_rate
        self.fc1 = _dense(hidden_dim, "fc1", self.dtype_policy)
        self.fc2 = _dense(embed_dim, "fc2", self.dtype_policy)
        self.drop1 = keras.layers.Dropout(drop_rate, dtype=self.dtype_policy)
        self.drop2 = keras.layers.Dropout(drop_rate, dtype=self.dtype_policy)

    def build(self, input_shape: tuple) -> None:
        self.fc1.build(input_shape)
        self.fc2.build((*input_shape[:-1], self.hidden_dim))

    def call(self, x: Any, training: bool = False) -> Any:
        x = self.drop1(gelu(self.fc1(x)), training=training)  # (B, N, hidden)
        return self.drop2(self.fc2(x), training=training)  # (B, N, D)

    def get_config(self) -> dict:
        own = {
            "hidden_dim": self.hidden_dim,
            "embed_dim": self.embed_dim,
            "drop_rate": self.drop_rate,
        }
        return {**super().get_config(), **own}


class SelfAttentionBlock(keras.layers.Layer):
    """A trunk block: ``(B, N, D) -> (B, N, D)``, with attention maps (B, H, N, N) when asked.

    ``x += drop_path(gamma_1 * attn(norm1(x)))``, then ``x += drop_path(gamma_2 * mlp(norm2(x)))``.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        layer_scale_init: float = 1e-5,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        **kwargs: Any,
    ) -> None:
        # Without autocast the residual stream enters, and stays, in float32.
        super().__init__(autocast=False, **kwargs)
        self._config = {
            "embed_dim": embed_dim,
            "num_heads": num_heads,
            "mlp_ratio": mlp_ratio,
            "layer_scale_init": layer_scale_init,
            "drop_rate": drop_rate,
            "attn_drop_rate": attn_drop_rate,
            "drop_path_rate": drop_path_rate,
        }
        policy, stable = self.dtype_policy, _stable_dtype(self.dtype_policy)
        self.norm1 = layer_norm("norm1", policy)
        self.attn = TalkingHeadAttention(
            embed_dim, num_heads, attn_drop_rate, drop_rate, dtype=policy, name="attn"
        )
        self.gamma_1 = LayerScale(layer_scale_init, dtype=stable, name="gamma_1")
        self.drop_path1 = DropPath(drop_path_rate, dtype=stable, name="drop_path1")
        self.norm2 = layer_norm("norm2", policy)
        self.mlp = Mlp(int(embed_dim * mlp_ratio), embed_dim, drop_rate, dtype=policy, name="mlp")
        self.gamma_2 = LayerScale(layer_scale_init, dtype=stable, name="gamma_2")
        self.drop_path2 = DropPath(drop_path_rate, dtype=stable, name="drop_path2")

    def build(self, input_shape: tuple) -> None:
        for layer in (self.norm1, self.attn, self.gamma_1, self.norm2, self.mlp, self.gamma_2):
            layer.build(input_shape)

    def call(self, x: Any, return_attention: bool = False, training: bool = False) -> Any:
        y = self.attn(self.norm1(x), return_attention=return_attention, training=training)
        y, maps = y if return_attention else (y, None)  # (B, N, D), (B, H, N, N)
        x = x + self.drop_path1(self.gamma_1(y), training=training)
        y = self.mlp(self.norm2(x), training=training)  # (B, N, D)
        x = x + self.drop_path2(self.gamma_2(y), training=training)
        return (x, maps) if return_attention else x

    def get_config(self) -> dict:
        return {**_without_autocast(super().get_config()), **self._config}


class ClassAttentionBlock(keras.layers.Layer):
    """A class-attention block: updates the class token (B, 1, D) from itself and the patches (B, N, D).

    The patches pass unchanged, and there is neither dropout nor drop path here, as in the original.
    Returns the class token, with attention maps (B, H, 1, 1+N) when asked.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        layer_scale_init: float = 1e-5,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self._config = {
            "embed_dim": embed_dim,
            "num_heads": num_heads,
            "mlp_ratio": mlp_ratio,
            "layer_scale_init": layer_scale_init,
        }
        policy, stable = self.dtype_policy, _stable_dtype(self.dtype_policy)
        self.norm1 = layer_norm("norm1", policy)
        self.attn = ClassAttention(embed_dim, num_heads, dtype=policy, name="attn")
        self.gamma_1 = LayerScale(layer_scale_init, dtype=stable, name="gamma_1")
        self.norm2 = layer_norm("norm2", policy)
        self.mlp = Mlp(int(embed_dim * mlp_ratio), embed_dim, dtype=policy, name="mlp")
        self.gamma_2 = LayerScale(layer_scale_init, dtype=stable, name="gamma_2")

    def build(self, cls_shape: tuple, patches_shape: tuple) -> None:
        for layer in (self.norm1, self.attn, self.gamma_1, self.norm2, self.mlp, self.gamma_2):
            layer.build(patches_shape)

    def call(self, cls: Any, patches: Any, return_attention: bool = False) -> Any:
        u = self.norm1(ops.concatenate([cls, patches], axis=1))  # (B, 1+N, D)
        y = self.attn(u, return_attention=return_attention)
        y, maps = y if return_attention else (y, None)  # (B, 1, D), (B, H, 1, 1+N)
        cls = cls + self.gamma_1(y)
        cls = cls + self.gamma_2(self.mlp(self.norm2(cls)))  # (B, 1, D)
        return (cls, maps) if return_attention else cls

    def get_config(self) -> dict:
        return {**_without_autocast(super().get_config()), **self._config}


def _without_autocast(config: dict) -> dict:
    """Drop the key that the blocks fix themselves, whether or not Keras lists it."""
    return {key: value for key, value in config.items() if key != "autocast"}
