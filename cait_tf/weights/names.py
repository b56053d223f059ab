"""Map a variable's Keras path to timm's name, and convert between Keras' and torch's layouts.

The project uses timm's names for all weights. Every reader returns a dictionary
``{timm name: array in Keras layout}``, whatever names the source uses.
"""

from __future__ import annotations

import re

import numpy as np

#: The first path component of every parameter, after the names of the enclosing models.
_ROOT = re.compile(
    r"(cls_token|pos_embed|patch_embed|blocks_\d+|blocks_token_only_\d+|norm|fc_norm|head|target_scale)$"
)
_LEAF = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias",
         "moving_mean": "running_mean", "moving_variance": "running_var",
         "mean": "mean", "std": "std"}  # fmt: skip
_EMBEDDING = ("cls_token", "pos_embed")


def timm_name(path: str) -> str:
    """Return timm's name: ``…/blocks_3/attn/qkv/kernel -> blocks.3.attn.qkv.weight``.

    Raises:
        KeyError: `path` is not the path of a CaiT parameter.
    """
    parts = path.split("/")[1:]  # skip the model's own name, which may be any name
    while parts and not _ROOT.match(parts[0]):
        parts.pop(0)
    if not parts:
        raise KeyError(f"{path} is not the path of a CaiT parameter")
    if parts[-1] in _EMBEDDING:
        return parts[-1]
    if match := re.fullmatch(r"(blocks|blocks_token_only)_(\d+)", parts[0]):
        parts[:1] = [match[1], match[2]]
    if parts[-2] in ("gamma_1", "gamma_2"):  # LayerScale: the layer's path is timm's whole name
        return ".".join(parts[:-1])
    return ".".join([*parts[:-1], _LEAF[parts[-1]]])


def from_torch_layout(array: np.ndarray) -> np.ndarray:
    """Convert a torch kernel to Keras' layout.

    (out, in) becomes (in, out), and (out, in, h, w) becomes (h, w, in, out). Other arrays are
    unchanged.
    """
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    return array.T if array.ndim == 2 else array


def to_torch_layout(array: np.ndarray) -> np.ndarray:
    """Invert `from_torch_layout`. The result is contiguous in memory, as file formats require."""
    if array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    elif array.ndim == 2:
        array = array.T
    return np.ascontiguousarray(array)
