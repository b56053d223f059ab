"""What a file of weights states besides its classes: its run, and how its images were prepared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cait_tf.places import expanded
from cait_tf.variants import VARIANTS
from cait_tf.weights.checksum import STATED

PREPARATION = "preprocessing"
_ANY = next(iter(VARIANTS.values()))
_PUBLISHED = json.dumps({
    "mean": list(_ANY.mean), "std": list(_ANY.std), "interpolation": _ANY.interpolation,
    "crop_pct": _ANY.crop_pct, "resize_mode": "shorter_side", "antialias": True, "upright": True,
})  # fmt: skip


def stated_facts(source: str | Path) -> dict[str, str]:
    """Return the facts that a local file or directory states. Empty: none, or a hub repository.

    The result omits class names, patch grid and checksum, which other functions return.
    """
    from cait_tf.weights import collection, keras_file, official, timm

    path = Path(expanded("source", source))
    found: dict[str, str] = {}
    if path.is_dir():
        found = collection.stated(path)
    elif path.is_file() and path.name.endswith((".weights.h5", ".keras")):
        found = keras_file.stated(path)
    elif path.is_file() and path.name.endswith(official.ENDINGS):
        found = official.stated(path)
    elif path.is_file() and path.suffix == ".safetensors":
        found = timm.metadata(path)
    own = {timm.CLASSES, timm.GRID, STATED, "format"}
    return {key: text for key, text in found.items() if key not in own}


def state_preparation(model: Any, preparation: str | None) -> None:
    """Store in the backbone how the images of a model's weights were prepared, as JSON."""
    from cait_tf.weights.load import weights_checksum

    backbone = getattr(model, "backbone", model)
    backbone.prepared = (weights_checksum(backbone), preparation) if preparation else None


def preparation_of(model: Any, *, of_these_weights: bool = True) -> str | None:
    """Return the preparation that `state_preparation` stored. `None`: it stored none.

    Args:
        of_these_weights: True: also return `None` if the backbone's weights changed since then,
            because the user may have trained them on other images.
    """
    from cait_tf.weights.load import weights_checksum

    backbone = getattr(model, "backbone", model)
    if backbone.prepared is None:
        return None
    sha256, preparation = backbone.prepared
    return None if of_these_weights and sha256 != weights_checksum(backbone) else preparation


def other_preparation(preparation: str | None, than: str | None = None) -> dict[str, Any]:
    """Return the values of `preparation` that differ from those of `than`, by key.

    Args:
        preparation: JSON. `None`: not stated.
        than: JSON. `None`: the preparation of the published variants, which all have the same.
    """
    try:
        stated, other = dict(json.loads(preparation or "{}")), dict(json.loads(than or _PUBLISHED))
    except (ValueError, TypeError):  # metadata of another program
        return {}
    return {key: value for key, value in stated.items() if other.get(key, value) != value}


def format_preparation(preparation: dict[str, Any]) -> str:
    """Return text such as ``mean [0.2, 0.2, 0.2]; resize_mode squash``."""
    return "; ".join(f"{key} {value}" for key, value in preparation.items())
