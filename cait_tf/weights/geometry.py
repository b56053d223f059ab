"""Read the geometry of a model from the shapes of its weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from cait_tf.errors import WeightsError
from cait_tf.weights.assign import columns_of, is_regressor, kind_of_head, pooling_of


def geometry(
    tensors: Mapping[str, np.ndarray],
    grid: tuple[int, int] | None = None,
    source: str | Path = "tensors",
) -> dict[str, Any]:
    """Return the arguments of `CaiTClassifier` that fit `tensors`.

    If `tensors` have no head, the arguments are those of `CaiTBackbone`, without ``num_classes``. If
    `tensors` have statistics of targets, the arguments are those of `CaiTRegressor`, with
    ``num_targets``.

    Args:
        tensors: arrays in Keras layout by timm name.
        grid: the patch grid. `None`: a square grid.
        source: name of the tensors' source, for messages.

    Raises:
        WeightsError: the tensors are not those of a CaiT, or do not fit the grid.
    """
    try:
        patch_size, _, channels, embed_dim = tensors["patch_embed.proj.weight"].shape
        patches = tensors["pos_embed"].shape[1]
        side = math.isqrt(patches)
        height, width = grid or (side, side)
        if height * width != patches:
            raise WeightsError(
                f"weights: got {source}, with a position embedding of {patches} patches, expected a "
                "square number of them, or a file that states its grid, as cait_tf's files do"
            )
        shape = {
            "image_size": (height * patch_size, width * patch_size),
            "patch_size": patch_size,
            "embed_dim": embed_dim,
            "depth": _blocks(tensors, "blocks"),
            "depth_token_only": _blocks(tensors, "blocks_token_only"),
            "num_heads": tensors["blocks.0.attn.proj_l.weight"].shape[0],
            "mlp_ratio": tensors["blocks.0.mlp.fc1.weight"].shape[1] / embed_dim,
        }
    except WeightsError:
        raise
    except (KeyError, IndexError, ValueError) as error:
        reason = f"no {error.args[0]}" if isinstance(error, KeyError) else str(error)
        raise WeightsError(
            f"weights: got {source}, whose tensors are not a CaiT's: {reason} among "
            f"{', '.join(list(tensors)[:4])} …; expected timm's names, such as "
            "blocks.0.attn.proj_l.weight"
        ) from error
    if channels != 3:
        shape["in_channels"] = channels
    if (pooling := pooling_of(tensors)) != "token":
        shape["pooling"] = pooling
    if columns := columns_of(tensors):
        key = "num_targets" if is_regressor(tensors) else "num_classes"
        shape |= {key: columns, **_head(tensors)}
    return shape


def _head(tensors: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return the arguments for a head that is not linear. Tensors state no dropout rate."""
    kind, hidden = kind_of_head(tensors), tensors.get("head.fc1.weight")
    if kind == "linear":
        return {}
    return {"head": kind, "head_options": {} if hidden is None else {"hidden": hidden.shape[-1]}}


def _blocks(tensors: Mapping[str, np.ndarray], stage: str) -> int:
    return len({name.split(".")[1] for name in tensors if name.startswith(f"{stage}.")})
