"""Weights that Keras itself saved: ``.weights.h5`` and ``.keras``, of a classifier or a backbone.

Keras files a variable under its attribute path and its number in the layer, for instance
``backbone/blocks/self_attention_block_3/attn/qkv/vars/0``.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path

import numpy as np

from cait_tf.errors import WeightsError

_H5_IN_ARCHIVE = "model.weights.h5"
_STAGES = {
    "blocks/self_attention_block": "blocks",
    "blocks_token_only/class_attention_block": "blocks_token_only",
}


def read(path: str | Path) -> dict[str, np.ndarray]:
    """Every weight of the file: timm name to array in Keras layout.

    Raises:
        WeightsError: the file is damaged, or not one of CaiT.
    """
    import h5py

    path = Path(path)
    try:
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                source = io.BytesIO(archive.read(_H5_IN_ARCHIVE))
        else:
            source = path
        with h5py.File(source, "r") as file:
            arrays = {}
            file.visititems(
                lambda key, item: (
                    arrays.update({key: item[()]})
                    if isinstance(item, h5py.Dataset)
                    and "seed_generator" not in key
                    and not key.startswith("optimizer/")
                    else None
                )
            )
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise WeightsError(f"weights: got {path}, which Keras did not save ({error})") from error
    named = {_timm_name(key): array for key, array in arrays.items()}
    if None in named:
        strangers = [key for key in arrays if _timm_name(key) is None]
        raise WeightsError(
            f"weights: got {path}, expected a model of cait_tf; these variables have no place in "
            f"one: {', '.join(strangers[:8])}"
        )
    return named


def grid(path: str | Path) -> tuple[int, int] | None:
    """The patch grid of a ``.keras`` file, from the configuration in it."""
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))["config"]
    size, patch = config.get("image_size"), config.get("patch_size")
    return (size[0] // patch, size[1] // patch) if size and patch else None


def _timm_name(key: str) -> str | None:
    """``backbone/blocks/self_attention_block_3/gamma_1/vars/0 -> blocks.3.gamma_1``."""
    path, _, number = key.removeprefix("backbone/").rpartition("/")
    if number not in ("0", "1"):
        return None
    if path == "vars":
        return ("cls_token", "pos_embed")[int(number)]
    path = path.removesuffix("/vars")
    for prefix, stage in _STAGES.items():
        if match := re.match(rf"{prefix}(?:_(\d+))?/", path):
            path = f"{stage}.{match[1] or 0}/{path[match.end() :]}"
    path = path.replace("layers/layer_normalization", "norm").replace("layers/", "")
    name = path.replace("/", ".")
    if name.endswith((".gamma_1", ".gamma_2")):
        return name
    if not re.match(r"(patch_embed\.proj|blocks|norm|head)", name):
        return None
    return f"{name}.{('weight', 'bias')[int(number)]}"
