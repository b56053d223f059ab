"""The two blocks of CaiT: self-attention among patches, and class attention over patches.

Shapes: B images, N patches, D ``embed_dim``, H ``num_heads``.
"""

from __future__ import annotations

from typing import Any

import keras

from cait_tf.attention import ClassAttention, TalkingHeadAttention
from cait_tf.errors import CaiTError
from cait_tf.fused import implementation
from cait_tf.keras_ops import ops
from cait_tf.layers import (
    DropPath,
    LayerScale,
    Mlp,
    layer_norm,
    stable_dtype,
    without_autocast,
)
from cait_tf.variants import KERNEL_INIT


class SelfAttentionBlock(keras.layers.Layer):
    """A trunk block: ``(B, N, D) -> (B, N, D)``.

    ``x += drop_path(gamma_1 * attn(norm1(x)))``, then ``x += drop_path(gamma_2 * mlp(norm2(x)))``.
    With ``return_attention=True`` the call also returns the attention maps (B, H, N, N).

    With ``remat=True`` training stores only the block's input and recomputes the activations in the
    backward pass (Chen et al. 2016, https://arxiv.org/abs/1604.06174): less memory, more time.
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        layer_scale_init: float = 1e-5,
        kernel_init: float = KERNEL_INIT,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        remat: bool = False,
        **kwargs: Any,
    ) -> None:
        if remat and (drop_rate or attn_drop_rate):
            # The backward pass would draw other dropout masks. Storing the masks would cost as much
            # memory as remat saves.
            raise CaiTError(
                "remat: got true with drop_rate or attn_drop_rate, expected 0 for both (drop_path_rate "
                "works)"
            )
        # Without autocast the residual stream stays in float32.
        super().__init__(autocast=False, **kwargs)
        self._config = {
            "embed_dim": embed_dim,
            "num_heads": num_heads,
            "mlp_ratio": mlp_ratio,
            "layer_scale_init": layer_scale_init,
            "kernel_init": kernel_init,
            "drop_rate": drop_rate,
            "attn_drop_rate": attn_drop_rate,
            "drop_path_rate": drop_path_rate,
            "remat": remat,
        }
        self.remat = remat
        self.has_dropout = bool(drop_rate or attn_drop_rate)
        policy, stable = self.dtype_policy, stable_dtype(self.dtype_policy)
        self.norm1 = layer_norm("norm1", policy, policy.compute_dtype)
        self.attn = TalkingHeadAttention(
            embed_dim, num_heads, attn_drop_rate, drop_rate, kernel_init, dtype=policy, name="attn"
        )
        self.gamma_1 = LayerScale(layer_scale_init, dtype=stable, name="gamma_1")
        self.drop_path1 = DropPath(drop_path_rate, dtype=stable, name="drop_path1")
        self.norm2 = layer_norm("norm2", policy, policy.compute_dtype)
        hidden_dim = int(embed_dim * mlp_ratio)
        self.mlp = Mlp(hidden_dim, embed_dim, drop_rate, kernel_init, dtype=policy, name="mlp")
        self.gamma_2 = LayerScale(layer_scale_init, dtype=stable, name="gamma_2")
        self.drop_path2 = DropPath(drop_path_rate, dtype=stable, name="drop_path2")

    def build(self, input_shape: tuple) -> None:
        for layer in (self.norm1, self.attn, self.gamma_1, self.norm2, self.mlp, self.gamma_2):
            layer.build(input_shape)

    def call(self, x: Any, return_attention: bool = False, training: bool = False) -> Any:
        # Draw outside of remat: the recomputed forward pass must use the same factors.
        factors = [
            factor
            for drop in (self.drop_path1, self.drop_path2)
            if (factor := drop.draw(x, training)) is not None
        ]  # none, or two (B, 1, 1)

        def residual(x: Any, *factors: Any) -> Any:
            return self._residual(x, factors, return_attention, training)

        if self.remat and training:
            residual = keras.remat(residual)
        return residual(x, *factors)

    def _residual(self, x: Any, factors: tuple, return_attention: bool, training: bool) -> Any:
        if not return_attention and (fused := implementation()):
            return fused.self_attention_block(self, x, factors, training)
        y = self.attn(self.norm1(x), return_attention=return_attention, training=training)
        y, maps = y if return_attention else (y, None)  # (B, N, D), (B, H, N, N)
        x = x + _dropped(self.gamma_1(y), factors[:1])
        x = x + _dropped(self.gamma_2(self.mlp(self.norm2(x), training=training)), factors[1:])
        return (x, maps) if return_attention else x

    def get_config(self) -> dict:
        return {**without_autocast(super().get_config()), **self._config}


class ClassAttentionBlock(keras.layers.Layer):
    """A class-attention block: updates the class token (B, 1, D) from itself and the patches (B, N, D).

    The block leaves the patches unchanged. As in the authors' model, the block has neither dropout nor
    drop path. The call returns the class token, and with ``return_attention=True`` also the attention
    maps (B, H, 1, 1+N).
    """

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        mlp_ratio: float = 4.0,
        layer_scale_init: float = 1e-5,
        kernel_init: float = KERNEL_INIT,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)
        self._config = {
            "embed_dim": embed_dim,
            "num_heads": num_heads,
            "mlp_ratio": mlp_ratio,
            "layer_scale_init": layer_scale_init,
            "kernel_init": kernel_init,
        }
        policy, stable = self.dtype_policy, stable_dtype(self.dtype_policy)
        self.norm1 = layer_norm("norm1", policy, policy.compute_dtype)
        self.attn = ClassAttention(embed_dim, num_heads, kernel_init, dtype=policy, name="attn")
        self.gamma_1 = LayerScale(layer_scale_init, dtype=stable, name="gamma_1")
        self.norm2 = layer_norm("norm2", policy, policy.compute_dtype)
        hidden_dim = int(embed_dim * mlp_ratio)
        self.mlp = Mlp(hidden_dim, embed_dim, kernel_init=kernel_init, dtype=policy, name="mlp")
        self.gamma_2 = LayerScale(layer_scale_init, dtype=stable, name="gamma_2")

    # Keras passes the shape of each argument of `call` under the argument's name.
    def build(self, cls_shape: tuple, patches_shape: tuple) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        for layer in (self.norm1, self.attn, self.gamma_1, self.norm2, self.mlp, self.gamma_2):
            layer.build(patches_shape)

    def call(
        self, cls: Any, patches: Any, return_attention: bool = False, training: bool = False
    ) -> Any:
        if not return_attention and (fused := implementation()):
            return fused.class_attention_block(self, cls, patches, training)
        u = self.norm1(ops.concatenate([cls, patches], axis=1))  # (B, 1+N, D)
        y = self.attn(u, return_attention=return_attention)
        y, maps = y if return_attention else (y, None)  # (B, 1, D), (B, H, 1, 1+N)
        cls = cls + self.gamma_1(y)
        cls = cls + self.gamma_2(self.mlp(self.norm2(cls)))  # (B, 1, D)
        return (cls, maps) if return_attention else cls

    def get_config(self) -> dict:
        return {**without_autocast(super().get_config()), **self._config}


def _dropped(y: Any, factor: tuple) -> Any:
    """Multiply ``y`` by stochastic depth's factor (B, 1, 1); an empty tuple leaves ``y`` unchanged."""
    return y * factor[0] if factor else y
