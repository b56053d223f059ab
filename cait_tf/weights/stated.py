"""What a file of weights states besides its classes: its run, and how its images were prepared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cait_tf.places import expanded
from cait_tf.variants import Variant
from cait_tf.weights.checksum import STATED

PREPARATION = "preprocessing"


def stated_facts(source: str | Path) -> dict[str, str]:
    """Return the facts that a local file states. Empty: none, or a hub repository.

    The result lacks what describes the file and not its model: class names, patch grid, checksum.
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
    """State how the images of a model's weights were prepared, as JSON. It belongs to the backbone."""
    from cait_tf.weights.load import weights_checksum

    backbone = getattr(model, "backbone", model)
    backbone.prepared = (weights_checksum(backbone), preparation) if preparation else None


def preparation_of(model: Any, *, of_these_weights: bool = True) -> str | None:
    """Return what `state_preparation` stated. `None`: nothing.

    Args:
        of_these_weights: True: also return `None` if the backbone's weights changed since, as the user
            may have trained them on other images.
    """
    from cait_tf.weights.load import weights_checksum

    backbone = getattr(model, "backbone", model)
    if backbone.prepared is None:
        return None
    sha256, preparation = backbone.prepared
    return None if of_these_weights and sha256 != weights_checksum(backbone) else preparation


def differences(one: str, other: str) -> str:
    """Return the values of the second preparation, as JSON, that differ from the first, in words."""
    try:
        first, second = dict(json.loads(one)), dict(json.loads(other))
    except (ValueError, TypeError):  # metadata of another program
        return ""
    unlike = {key: value for key, value in second.items() if first.get(key, value) != value}
    return "; ".join(f"{key} {value}" for key, value in unlike.items())


def other_preparation(variant: Variant, source: str | Path) -> dict[str, Any]:
    """Return the stated values of an image's preparation that differ from the variant's, by key."""
    try:
        stated = dict(json.loads(stated_facts(source).get(PREPARATION, "{}")))
    except (ValueError, TypeError):  # metadata of another program
        return {}
    own = {
        "mean": list(variant.mean),
        "std": list(variant.std),
        "resize_mode": "shorter_side",
        "interpolation": variant.interpolation,
        "antialias": True,
        "upright": True,
        "crop_pct": variant.crop_pct,
    }
    return {key: stated[key] for key in own if stated.get(key, own[key]) != own[key]}
