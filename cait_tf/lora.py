"""Low-rank adaptation of a backbone (LoRA, Hu et al. 2021, https://arxiv.org/abs/2106.09685).

Attention and MLP layers add ``alpha / rank * A @ B`` to their frozen kernels. A (in, rank) starts
random and B (rank, out) starts at zero, so the model's outputs are unchanged at first.
"""

from __future__ import annotations

import numbers
import re
from typing import Any

import keras
import numpy as np

from cait_tf.errors import CaiTError
from cait_tf.keras_ops import ops

_NAMES = ("lora_kernel_a", "lora_kernel_b")


def enable_lora(
    backbone: Any, rank: int, alpha: float | None = None, targets: str | None = None
) -> None:
    """Freeze all variables of `backbone` and add trainable updates to its attention and MLP layers.

    Args:
        rank: rank of the updates, at least 1.
        alpha: the scale of the updates is ``alpha / rank``. `None`: `rank`, a scale of 1.
        targets: a regular expression, searched in the layers' paths, such as ``blocks_0/attn/qkv``.
            The layers that match get updates. `None`: all layers.

    Raises:
        CaiTError: `rank` is not a positive whole number, `targets` is not a regular expression or
            matches no layer, or the backbone already has updates.
    """
    if not isinstance(rank, numbers.Integral) or rank < 1:
        raise CaiTError(f"rank: got {rank!r}, expected a whole number from 1")
    if has_lora(backbone):
        raise CaiTError("enable_lora: got a model that has LoRA already, expected one without")
    if not backbone.built:
        backbone.build()
    chosen = _chosen_layers(backbone, targets)
    for variable in backbone.weights:
        variable.trainable = False
    for layer in chosen:
        layer.enable_lora(rank, lora_alpha=alpha)


def has_lora(model: Any) -> bool:
    """Whether any layer of the model has a low-rank update."""
    return any(layer.lora_enabled for layer in _dense_layers(model))


def is_lora(path: str) -> bool:
    """Whether `path` is the path of a low-rank update's variable."""
    return path.rpartition("/")[2] in _NAMES


def merged_kernels(model: Any) -> dict[str, np.ndarray]:
    """Return the kernels with their updates added, by the path of the kernel."""
    return {
        layer._kernel.path: ops.convert_to_numpy(layer.kernel)
        for layer in _dense_layers(model)
        if layer.lora_enabled
    }


def reset_lora(model: Any) -> None:
    """Set every update to zero. `assign_weights` calls this function after it loads new kernels."""
    for layer in _dense_layers(model):
        if layer.lora_enabled:
            layer.lora_kernel_b.assign(ops.zeros_like(layer.lora_kernel_b))


def _chosen_layers(backbone: Any, targets: str | None) -> list[keras.layers.Dense]:
    root = backbone.pos_embed.path.removesuffix("pos_embed")
    by_path = {
        layer._kernel.path.removeprefix(root).removesuffix("/kernel"): layer
        for layer in _dense_layers(backbone)
    }
    try:
        chosen = [layer for path, layer in by_path.items() if re.search(targets or "", path)]
    except re.error as error:
        raise CaiTError(
            f"targets: got {targets!r}, expected a regular expression ({error})"
        ) from error
    if not chosen:
        kinds = dict.fromkeys(path.partition("/")[2] for path in by_path)
        raise CaiTError(
            f"targets: got {targets!r}, which matches no layer's path, expected a part of "
            f"blocks_0 … blocks_{backbone.depth - 1}, blocks_token_only_0 … "
            f"blocks_token_only_{backbone.depth_token_only - 1}, or of {', '.join(kinds)}"
        )
    return chosen


def _dense_layers(model: Any) -> list[keras.layers.Dense]:
    backbone = getattr(model, "backbone", model)
    return [
        layer
        for block in (*backbone.blocks, *backbone.blocks_token_only)
        for part in (block.attn, block.mlp)
        for layer in part._flatten_layers()
        if isinstance(layer, keras.layers.Dense)
    ]
