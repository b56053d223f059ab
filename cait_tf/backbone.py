"""The CaiT trunk and class-attention stage: images to one normalised class token."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from cait_tf.arguments import (
    check_positive,
    check_precision,
    check_rates,
    check_whole,
    grid_shape,
    image_shape,
    is_whole,
)
from cait_tf.blocks import ClassAttentionBlock, SelfAttentionBlock
from cait_tf.errors import CaiTError
from cait_tf.keras_ops import ops
from cait_tf.layers import PatchEmbed, layer_norm, trunc_normal
from cait_tf.lora import enable_lora
from cait_tf.variants import KERNEL_INIT
from cait_tf.weights.keras_file import as_numbers, of_numbers
from cait_tf.weights.stated import format_preparation, other_preparation, preparation_of

logger = logging.getLogger(__name__)

#: Weights and layers of the input embedding, with layer id 0.
_EMBEDDINGS = ("cls_token", "pos_embed", "patch_embed")
#: The values of `pooling`.
POOLINGS = ("token", "token_and_mean", "tokens")


@keras.saving.register_keras_serializable("cait_tf")
class CaiTBackbone(keras.Model):
    """CaiT without a head: normalised images (B, h, w, c) to features (B, F), F = `num_features`.

    By default the features are the class token after the final LayerNorm, as in the published
    feature extractors. ``backbone(images, return_attention=True)`` returns ``(features, maps)``. The
    dictionary `maps` has ``sa_ffn_block_{i}_att`` (B, H, N, N) for each trunk block, after the
    second head mixing. For each class-attention block it has ``ca_ffn_block_{j}_att``
    (B, H, 1, 1+N), after the softmax.

    Args:
        image_size: one side, or [height, width], in pixels; multiples of `patch_size`.
        drop_path_rate: stochastic-depth rate of every trunk block. CaiT does not increase the rate
            with depth.
        pos_embed_init: standard deviation of a new position embedding.
        kernel_init: standard deviation of the blocks' new kernels. The authors use 0.02. With 0.02
            the branches of a narrow model are almost constant, and a model of width 96 hardly
            learns.
        drop_rate: dropout rate of the trunk's activations.
        attn_drop_rate: dropout rate of the trunk's attention maps.
        remat: recompute each trunk block in the backward pass instead of storing its activations.
        in_channels: channels c of an image: 3 for RGB, 1 for grey, any other number of bands.
        pooling: what the features are. ``token``: the class token, (B, D). ``token_and_mean``: the
            class token, then the mean of the patch tokens after a LayerNorm of its own, (B, 2D), as
            in DINOv2's linear protocol. ``tokens``: the class token after each class-attention
            block, first to last, (B, ``depth_token_only`` · D).

    Raises:
        CaiTError: an argument has a wrong type or range. Or `image_size` is not a multiple of
            `patch_size`, `embed_dim` is not a multiple of `num_heads`, `remat` is used with
            dropout, or the dtype is pure half precision.
    """

    def __init__(
        self,
        image_size: int | Sequence[int] = 224,
        patch_size: int = 16,
        embed_dim: int = 192,
        depth: int = 24,
        depth_token_only: int = 2,
        num_heads: int = 4,
        mlp_ratio: float = 4.0,
        layer_scale_init: float = 1e-5,
        pos_embed_init: float = 0.02,
        kernel_init: float = KERNEL_INIT,
        drop_rate: float = 0.0,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        remat: bool = False,
        pooling: str = "token",
        in_channels: int = 3,
        **kwargs: Any,
    ) -> None:
        super().__init__(**{"name": "cait_backbone", "autocast": False, **kwargs})
        #: Checksum of the weights, and their images' preparation as JSON (see `weights.stated`).
        self.prepared: tuple[str, str] | None = None
        check_whole(
            patch_size=patch_size,
            embed_dim=embed_dim,
            num_heads=num_heads,
            depth=depth,
            depth_token_only=depth_token_only,
            in_channels=in_channels,
        )
        check_positive(mlp_ratio=mlp_ratio, kernel_init=kernel_init)
        if pooling not in POOLINGS:
            raise CaiTError(f"pooling: got {pooling!r}, expected one of {', '.join(POOLINGS)}")
        check_precision(self.dtype_policy)
        self.image_size = image_shape(image_size)
        self.grid_size = grid_shape(*self.image_size, patch_size)
        if embed_dim % num_heads:
            raise CaiTError(f"embed_dim: got {embed_dim}, expected a multiple of {num_heads} heads")
        check_rates(
            drop_rate=drop_rate, attn_drop_rate=attn_drop_rate, drop_path_rate=drop_path_rate
        )
        self.patch_size = patch_size
        self.embed_dim = embed_dim
        self.depth = depth
        self.depth_token_only = depth_token_only
        self.num_heads = num_heads
        self.mlp_ratio = mlp_ratio
        self.layer_scale_init = layer_scale_init
        self.pos_embed_init = pos_embed_init
        self.kernel_init = kernel_init
        self.drop_rate = drop_rate
        self.attn_drop_rate = attn_drop_rate
        self.drop_path_rate = drop_path_rate
        self.remat = remat
        self.pooling = pooling
        self.in_channels = in_channels

        policy = self.dtype_policy
        self.patch_embed = PatchEmbed(patch_size, embed_dim, dtype=policy, name="patch_embed")
        self.norm = layer_norm("norm", policy)
        if pooling == "token_and_mean":
            self.fc_norm = layer_norm("fc_norm", policy)  # timm's name for the norm of a mean
        self.pos_drop = keras.layers.Dropout(drop_rate, dtype=self.norm.dtype_policy)
        shared = {
            "mlp_ratio": mlp_ratio,
            "layer_scale_init": layer_scale_init,
            "kernel_init": kernel_init,
            "dtype": policy,
        }
        for i in range(depth):
            block = SelfAttentionBlock(
                embed_dim,
                num_heads,
                drop_rate=drop_rate,
                attn_drop_rate=attn_drop_rate,
                drop_path_rate=drop_path_rate,
                remat=remat,
                name=f"blocks_{i}",
                **shared,
            )
            setattr(self, block.name, block)
        for j in range(depth_token_only):
            block = ClassAttentionBlock(
                embed_dim, num_heads, name=f"blocks_token_only_{j}", **shared
            )
            setattr(self, block.name, block)

    @property
    def blocks(self) -> list[SelfAttentionBlock]:
        """The trunk's blocks, first to last."""
        return [getattr(self, f"blocks_{i}") for i in range(self.depth)]

    @property
    def blocks_token_only(self) -> list[ClassAttentionBlock]:
        """The class-attention blocks, first to last."""
        return [getattr(self, f"blocks_token_only_{j}") for j in range(self.depth_token_only)]

    def build(self, input_shape: tuple | None = None) -> None:
        if self.built:
            return
        grid_tokens, dim = self.grid_size[0] * self.grid_size[1], self.embed_dim
        self.cls_token = self.add_weight(
            shape=(1, 1, dim),
            initializer=trunc_normal(),
            autocast=False,  # Keras still autocasts the outermost model's own weights
            name="cls_token",
        )
        self.pos_embed = self.add_weight(
            shape=(1, grid_tokens, dim),
            initializer=trunc_normal(self.pos_embed_init),
            autocast=False,
            name="pos_embed",
        )
        patches = (None, grid_tokens, dim)
        self.patch_embed.build((None, *self.image_size, self.in_channels))
        for block in self.blocks:
            block.build(patches)
        for block in self.blocks_token_only:
            block.build((None, 1, dim), patches)
        self.norm.build(patches)
        if self.pooling == "token_and_mean":
            self.fc_norm.build((None, dim))
        self.built = True

    @property
    def num_features(self) -> int:
        """The number F of features of an image, by `pooling`."""
        parts = {"token": 1, "token_and_mean": 2, "tokens": self.depth_token_only}
        return parts[self.pooling] * self.embed_dim

    def call(self, images: Any, return_attention: bool = False, training: bool = False) -> Any:
        tokens, patches, maps = self._forward(images, return_attention, training)
        features = self._pooled(tokens, patches)  # (B, F)
        return (features, maps) if return_attention else features

    def _pooled(self, tokens: list[Any], patches: Any) -> Any:
        """Return the features, given the class token after each block and the patch tokens."""
        # LayerNorm acts on each token separately, so only the tokens in use are normalised.
        cls = self.norm(tokens[-1])[:, 0]  # (B, D)
        if self.pooling == "token_and_mean":
            return ops.concatenate([cls, self.fc_norm(ops.mean(patches, axis=1))], axis=-1)
        if self.pooling == "tokens":
            earlier = [self.norm(token)[:, 0] for token in tokens[:-1]]
            return ops.concatenate([*earlier, cls], axis=-1)
        return cls

    def forward_features(self, images: Any, training: bool = False) -> Any:
        """Return all tokens after the final LayerNorm, class token first: ``(B, 1+N, D)``."""
        (*_, cls), patches, _ = self._forward(images, False, training)
        return self.norm(ops.concatenate([cls, patches], axis=1))

    def forward_trunk(
        self, images: Any, return_attention: bool = False, training: bool = False
    ) -> Any:
        """Return the feature map ``(B, h, w, D)`` of the trunk's last block, without a norm.

        The class-attention stage does not run. (h, w) is the patch grid. With `return_attention`: the
        feature map, and the attention maps of the trunk's blocks as in a call.
        """
        x, maps = self._trunk(images, return_attention, training)
        x = ops.reshape(x, (-1, *self.grid_size, self.embed_dim))
        return (x, maps) if return_attention else x

    def forward_intermediates(
        self,
        images: Any,
        indices: int | Sequence[int] | None = None,
        norm: bool = False,
        training: bool = False,
    ) -> tuple[Any, list[Any]]:
        """Return the tokens of `forward_features`, and feature maps after the chosen trunk blocks.

        The feature maps are in the order of the blocks, as in timm's function of the same name.

        Args:
            images: as for a call.
            indices: indices of the trunk blocks; negative indices count from the end. A number n
                chooses the last n blocks. `None`: all blocks.
            norm: apply the final LayerNorm to each feature map.

        Returns:
            The tokens ``(B, 1+N, D)``, and a feature map ``(B, h, w, D)`` for each chosen block,
            where (h, w) is the patch grid.

        Raises:
            CaiTError: the trunk has no block with a given index.
        """
        chosen = self._block_indices(indices)
        taken = {}

        def take(i: int, x: Any) -> None:
            if i in chosen:
                x = self.norm(x) if norm else x
                taken[i] = ops.reshape(x, (-1, *self.grid_size, self.embed_dim))

        (*_, cls), patches, _ = self._forward(images, False, training, take)
        tokens = self.norm(ops.concatenate([cls, patches], axis=1))
        return tokens, [taken[i] for i in chosen]

    def _block_indices(self, indices: int | Sequence[int] | None) -> list[int]:
        if indices is None:
            indices = self.depth
        if is_whole(indices):
            if not 1 <= indices <= self.depth:
                raise CaiTError(f"indices: got {indices}, expected 1 to {self.depth} blocks")
            return list(range(self.depth - indices, self.depth))
        for index in indices:
            if not -self.depth <= index < self.depth:
                raise CaiTError(
                    f"indices: got {index}, expected {-self.depth} to {self.depth - 1}: the trunk "
                    f"has {self.depth} blocks"
                )
        return sorted({index % self.depth for index in indices})

    def enable_lora(
        self, rank: int, alpha: float | None = None, targets: str | None = None
    ) -> None:
        """Freeze the backbone and train low-rank updates of its attention and MLP kernels instead.

        `cait_tf.lora` describes the arguments. Saved weights and exports have the updates merged
        in.
        """
        enable_lora(self, rank, alpha, targets)

    def _forward(
        self,
        images: Any,
        return_attention: bool,
        training: bool,
        take: Callable[[int, Any], None] | None = None,
    ) -> tuple:
        """Return the class token (B, 1, D) after each class-attention block, patch tokens and maps.

        The patch tokens are (B, N, D). No token is normalised.
        """
        x, maps = self._trunk(images, return_attention, training, take)
        cls = ops.broadcast_to(self.cls_token, (ops.shape(x)[0], 1, self.embed_dim))  # (B, 1, D)
        tokens = []
        for j, block in enumerate(self.blocks_token_only):
            cls = block(cls, x, return_attention=return_attention, training=training)
            if return_attention:
                cls, maps[f"ca_ffn_block_{j}_att"] = cls
            tokens.append(cls)
        return tokens, x, maps

    def _trunk(
        self,
        images: Any,
        return_attention: bool,
        training: bool,
        take: Callable[[int, Any], None] | None = None,
    ) -> tuple[Any, dict[str, Any]]:
        """Return the patch tokens (B, N, D) after the trunk's last block, and the attention maps."""
        dtype = keras.backend.standardize_dtype(images.dtype)
        if "float" not in dtype:
            raise CaiTError(
                f"images: got {dtype}, expected floating-point images, normalised with the "
                "variant's mean and std"
            )
        if tuple(images.shape[1:]) != (*self.image_size, self.in_channels):
            raise CaiTError(
                f"images: got shape {tuple(images.shape)}, expected "
                f"(B, {self.image_size[0]}, {self.image_size[1]}, {self.in_channels})"
            )
        maps = {}
        x = ops.cast(self.patch_embed(images), self.pos_embed.dtype)  # (B, N, D)
        x = self.pos_drop(x + self.pos_embed, training=training)
        for i, block in enumerate(self.blocks):
            x = block(x, return_attention=return_attention, training=training)  # (B, N, D)
            if return_attention:
                x, maps[f"sa_ffn_block_{i}_att"] = x
            if take:
                take(i, x)
        return x, maps

    def save_own_variables(self, store: Any) -> None:
        """Store the weights, the patch grid, and how images are prepared, if that is known.

        The file needs the grid, because two grids can have the same number of patches.
        """
        super().save_own_variables(store)
        store["grid"] = np.array(self.grid_size)
        if self.prepared and preparation_of(self):
            store["prepared"] = as_numbers(list(self.prepared))

    def load_own_variables(self, store: Any) -> None:
        """Load the weights that `save_own_variables` stored.

        Raises:
            CaiTError: the file states another patch grid than the model's.
        """
        grid = tuple(int(side) for side in store["grid"]) if "grid" in store.keys() else None  # noqa: SIM118  no dict
        if grid is not None and grid != self.grid_size:
            raise CaiTError(
                f"weights: got a file of {grid[0]}x{grid[1]} patches, expected "
                f"{self.grid_size[0]}x{self.grid_size[1]}; cait_tf.load_weights resamples it"
            )
        found = {key: store[key] for key in store.keys() if key != "grid"}  # noqa: SIM118
        prepared = found.pop("prepared", None)
        super().load_own_variables(found)
        before = self.prepared[1] if self.prepared else None
        self.prepared = None if prepared is None else tuple(of_numbers(prepared))
        if self.prepared and (other := other_preparation(self.prepared[1], before)):
            logger.warning(
                "the weights were trained on images prepared with %s, unlike %s", format_preparation(other),
                "those of the model's earlier weights" if before else "those of cait_tf.preprocess",
            )  # fmt: skip

    @property
    def num_layer_ids(self) -> int:
        """The number of layer ids, including the head's: ``depth + 2``."""
        return self.depth + 2

    def layer_id(self, path: str) -> int:
        """Return the layer id of the variable at `path`, for layer-wise learning-rate decay.

        The ids follow timm's ``group_matcher`` for CaiT. The embeddings have id 0, and ``blocks_i``
        has id i+1. The class-attention blocks share the ids of the last trunk blocks. The final
        norm has the id of the last trunk block. A variable outside the backbone has the head's id,
        ``depth + 1``.
        """
        place = self.forward_place(path)
        return place if place <= self.depth else place - self.depth_token_only

    @property
    def num_forward_places(self) -> int:
        """The number of values of `forward_place`: ``depth + depth_token_only + 2``."""
        return self.depth + self.depth_token_only + 2

    def forward_place(self, path: str) -> int:
        """Return the position of a variable in the forward pass. Each block has its own position.

        The embeddings have position 0, ``blocks_i`` i+1, and ``blocks_token_only_j`` depth+1+j. The
        final norms have the position of the last class-attention block. A variable outside the
        backbone has position ``num_forward_places - 1``.
        """
        head = self.num_forward_places - 1
        own = self.pos_embed.path.removesuffix(
            "pos_embed"
        )  # a layer outside the backbone may also be called norm
        if not path.startswith(own):
            return head
        for part in path.removeprefix(own).split("/"):
            if part in _EMBEDDINGS:
                return 0
            if match := re.fullmatch(r"blocks_(\d+)", part):
                return int(match[1]) + 1
            if match := re.fullmatch(r"blocks_token_only_(\d+)", part):
                return self.depth + 1 + int(match[1])
            if part in ("norm", "fc_norm"):
                return head - 1
        return head

    def no_weight_decay(self) -> set[str]:
        """Return the names of the multi-dimensional parameters that get no weight decay."""
        return {"pos_embed", "cls_token"}

    def get_config(self) -> dict:
        return {
            "name": self.name,
            "dtype": keras.dtype_policies.serialize(self.dtype_policy),
            "image_size": list(self.image_size),
            "patch_size": self.patch_size,
            "embed_dim": self.embed_dim,
            "depth": self.depth,
            "depth_token_only": self.depth_token_only,
            "num_heads": self.num_heads,
            "mlp_ratio": self.mlp_ratio,
            "layer_scale_init": self.layer_scale_init,
            "pos_embed_init": self.pos_embed_init,
            "kernel_init": self.kernel_init,
            "drop_rate": self.drop_rate,
            "attn_drop_rate": self.attn_drop_rate,
            "drop_path_rate": self.drop_path_rate,
            "remat": self.remat,
            "pooling": self.pooling,
            "in_channels": self.in_channels,
        }
