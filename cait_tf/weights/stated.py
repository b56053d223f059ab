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


def remember_preparation(model: Any, source: str | Path) -> None:
    """Keep how the images of a model's weights were prepared, for `preparation_of`."""
    from cait_tf.weights.load import weights_checksum

    preparation = stated_facts(source).get(PREPARATION)
    model.prepared = (weights_checksum(model), preparation) if preparation else None


def preparation_of(model: Any) -> dict[str, str]:
    """Return the fact for the files of a model: how the images of its weights were prepared.

    Returns:
        One key; or nothing, if it is unknown or if the weights changed since `remember_preparation`,
        because the user may have trained them on other images.
    """
    from cait_tf.weights.load import weights_checksum

    sha256, preparation = getattr(model, "prepared", None) or ("", "")
    return {PREPARATION: preparation} if sha256 and sha256 == weights_checksum(model) else {}


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
