"""The name map: a variable's Keras path to timm's name for the same tensor, and the two layouts.

timm's names are the project's common language for weights: every source is read into a
``{timm name: array in Keras layout}`` dictionary, whatever it calls its tensors itself.
"""

from __future__ import annotations

import re

import numpy as np

#: The first path component of every parameter, once the enclosing models' names are cut off.
_ROOT = re.compile(r"(cls_token|pos_embed|patch_embed|blocks_\d+|blocks_token_only_\d+|norm|head)$")
_LEAF = {"kernel": "weight", "bias": "bias", "gamma": "weight", "beta": "bias"}
_EMBEDDING = ("cls_token", "pos_embed")


def timm_name(path: str) -> str:
    """``…/blocks_3/attn/qkv/kernel -> blocks.3.attn.qkv.weight``.

    Raises:
        KeyError: a path that is not a parameter of CaiT.
    """
    parts = path.split("/")[1:]  # the model's own name may be anything
    while parts and not _ROOT.match(parts[0]):
        parts.pop(0)
    if not parts:
        raise KeyError(f"{path} is not the path of a CaiT parameter")
    if parts[-1] in _EMBEDDING:
        return parts[-1]
    if match := re.fullmatch(r"(blocks|blocks_token_only)_(\d+)", parts[0]):
        parts[:1] = [match[1], match[2]]
    if parts[-2] in ("gamma_1", "gamma_2"):  # a LayerScale: the layer carries timm's whole name
        return ".".join(parts[:-1])
    return ".".join([*parts[:-1], _LEAF[parts[-1]]])


def from_torch_layout(array: np.ndarray) -> np.ndarray:
    """A torch kernel in Keras' layout: (out, in) to (in, out), (out, in, h, w) to (h, w, in, out)."""
    if array.ndim == 4:
        return array.transpose(2, 3, 1, 0)
    return array.T if array.ndim == 2 else array


def to_torch_layout(array: np.ndarray) -> np.ndarray:
    """The inverse of `from_torch_layout`, contiguous in memory as file formats want it."""
    if array.ndim == 4:
        array = array.transpose(3, 2, 0, 1)
    elif array.ndim == 2:
        array = array.T
    return np.ascontiguousarray(array)
