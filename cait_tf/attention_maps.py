"""Class attention maps, the class saliency map and attention rollout of a CaiT.

Every function computes its maps from the attention of ``model(images, return_attention=True)``::

    logits, attention = model(images, return_attention=True)
    class_attention_maps(attention, model.backbone.grid_size)  # (B, H, h, w)

Shapes: B images, H heads, N = h * w patches.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from cait_tf.variants import Variant

Attention = Mapping[str, Any]


def class_attention_maps(attention: Attention, grid: tuple[int, int], block: int = 0) -> np.ndarray:
    """Return the weight of each patch in each head of a class-attention block: ``(B, H, h, w)``.

    The maps leave out the class token's weight on itself. The function does not rescale the other
    weights to a sum of 1. Both rules follow the original collection's notebook.

    Args:
        attention: the attention tensors of the model, by name.
        grid: patches along the height and the width.
        block: index of the class-attention block.

    Raises:
        KeyError: the model has no block with this index.
    """
    maps = _array(attention[f"ca_ffn_block_{block}_att"])[:, :, 0, 1:]  # (B, H, N)
    return maps.reshape(*maps.shape[:2], *grid)


def class_saliency_map(attention: Attention, grid: tuple[int, int]) -> np.ndarray:
    """Return the first block's class attention, averaged over heads, scaled to 0..1: ``(B, h, w)``.

    The original collection's notebook calls it "class saliency map". It is attention, not a
    gradient.
    """
    return _zero_to_one(class_attention_maps(attention, grid, 0).mean(axis=1))


def attention_rollout(attention: Attention, grid: tuple[int, int]) -> np.ndarray:
    """Return the share of each patch in the class token, through all blocks: ``(B, h, w)``.

    Attention rollout (Abnar & Zuidema 2020, https://arxiv.org/abs/2005.00928), adapted to CaiT.
    Each trunk block mixes the patches: half by its attention, half by the identity (the residual).
    The class token starts at zero and gathers the patches in the class-attention blocks. Talking
    heads can make weights negative: the rollout uses absolute values and scales each row to a sum
    of 1. The result sums to 1 for each image.
    """
    patches = grid[0] * grid[1]
    mixture = np.eye(patches)  # (N, N), broadcast over B
    for i in range(_count(attention, "sa")):
        maps = np.abs(_array(attention[f"sa_ffn_block_{i}_att"]).astype("float64"))
        maps = maps.mean(axis=1)  # (B, N, N)
        maps /= maps.sum(axis=-1, keepdims=True)
        mixture = (0.5 * maps + 0.5 * np.eye(patches)) @ mixture  # (B, N, N)
    gathered: Any = 0.0
    for j in range(_count(attention, "ca")):
        maps = (
            _array(attention[f"ca_ffn_block_{j}_att"]).astype("float64").mean(axis=1)
        )  # (B, 1, 1+N)
        own, others = maps[:, :, :1], maps[:, :, 1:]  # (B, 1, 1), (B, 1, N)
        gathered = 0.5 * gathered + 0.5 * (own * gathered + others @ mixture)  # (B, 1, N)
    gathered = gathered[:, 0] / gathered[:, 0].sum(axis=-1, keepdims=True)  # (B, N)
    return gathered.reshape(-1, *grid)


def upsample(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize maps ``(…, h, w)`` to ``(…, *size)`` with bicubic interpolation."""
    from cait_tf.keras_ops import ops

    flat = np.asarray(maps, "float32").reshape(-1, *maps.shape[-2:], 1)  # (…, h, w, 1)
    flat = ops.image.resize(
        flat, size, interpolation="bicubic", antialias=True, data_format="channels_last"
    )
    return ops.convert_to_numpy(flat).reshape(*maps.shape[:-2], *size)


def _array(tensor: Any) -> np.ndarray:
    """Convert a tensor of any backend to NumPy, also from a GPU or with a PyTorch gradient."""
    from cait_tf.keras_ops import ops

    return ops.convert_to_numpy(tensor)


def _count(attention: Attention, stage: str) -> int:
    return sum(name.startswith(f"{stage}_ffn_block_") for name in attention)


def _zero_to_one(maps: np.ndarray) -> np.ndarray:
    low = maps.min(axis=(-2, -1), keepdims=True)
    high = maps.max(axis=(-2, -1), keepdims=True)
    return (maps - low) / np.maximum(high - low, 1e-12)  # a flat map is 0 everywhere


def write_maps(
    model: Any,
    path: str | Path,
    directory: str | Path,
    class_names: tuple[str, ...] | None = None,
    crop_pct: float = 1.0,
    name: str | None = None,
) -> list[Path]:
    """Draw the saliency map, the class attention maps and the rollout of one image file.

    Args:
        model: a `CaiTClassifier`.
        path: the image file.
        directory: where to write the PNG files.
        class_names: names of the classes, in label order. `None`: the title shows the number of the
            class.
        crop_pct: crop ratio, as for `cait_tf.images.load_image`.
        name: start of the names of the PNG files. `None`: the name of the image file without its
            ending.

    Returns:
        The files: ``NAME_saliency.png``, ``NAME_class_attention.png``, ``NAME_rollout.png``.

    Raises:
        CaiTError: the file does not exist or is not an image, or the model's images are not RGB.
    """
    from cait_tf import images, pictures
    from cait_tf.errors import CaiTError
    from cait_tf.keras_ops import ops

    backbone = model.backbone
    if backbone.in_channels != 3:
        raise CaiTError(
            f"model: got one of in_channels={backbone.in_channels}, expected 3: image files are read as RGB\n"
            "  Draw the maps of a run with cait-finetune predict run=RUN images=… maps=FOLDER."
        )
    image = images.load_image(path, backbone.image_size, crop_pct)  # (h, w, 3)
    logits, attention = model(images.normalise(image)[None], return_attention=True)
    attention = {name: ops.convert_to_numpy(tensor) for name, tensor in attention.items()}
    probabilities = ops.convert_to_numpy(ops.softmax(logits))[0]  # (C,)
    best = int(probabilities.argmax())
    predicted = class_names[best] if class_names else f"class {best}"
    title = f"{predicted}, {probabilities[best]:.1%}"

    grid, size = backbone.grid_size, backbone.image_size
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    stem = name or Path(path).stem
    files = [
        directory / f"{stem}_{kind}.png" for kind in ("saliency", "class_attention", "rollout")
    ]
    pictures.draw_overlay(
        image, upsample(class_saliency_map(attention, grid), size)[0], title, "saliency", files[0]
    )
    blocks = [
        upsample(class_attention_maps(attention, grid, j), size)[0]
        for j in range(backbone.depth_token_only)
    ]  # each (H, h, w)
    pictures.draw_heads(image, blocks, title, files[1])
    pictures.draw_overlay(
        image, upsample(_zero_to_one(attention_rollout(attention, grid)), size)[0], title,
        "attention rollout", files[2],
    )  # fmt: skip
    return files


def stated_crop_pct(variant: Variant, weights: str | Path) -> float:
    """Return the crop ratio that the weights state, or else the variant's.

    Raises:
        CaiTError: the weights state a preprocessing that `write_maps` cannot apply.
    """
    from cait_tf.errors import CaiTError
    from cait_tf.weights.stated import (
        PREPARATION,
        format_preparation,
        other_preparation,
        stated_facts,
    )

    other = other_preparation(stated_facts(weights).get(PREPARATION))
    crop_pct = float(other.pop("crop_pct", variant.crop_pct))
    if other:
        raise CaiTError(
            f"weights: got {weights}, trained on images prepared with {format_preparation(other)}, expected the "
            f"preparation of {variant.name}\n"
            "  Draw the maps with cait-finetune predict run=RUN images=… maps=FOLDER."
        )
    return crop_pct


if __name__ == "__main__":  # earlier versions had a command here
    raise SystemExit(
        "cait_tf: -m: got cait_tf.attention_maps, expected a command\n  Write cait-finetune maps images=FILE model=NAME"
    )
