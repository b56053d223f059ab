"""Weights that come with the package: of our own models, each with a card beside it."""

from __future__ import annotations

from pathlib import Path

from cait_tf.variants import Variant

_FOLDER = Path(__file__).resolve().parents[1] / "pretrained"


def weights_of(variant: Variant) -> Path | None:
    """The safetensors file, or None for a variant whose weights are published elsewhere."""
    return _FOLDER / f"{variant.name}.safetensors" if variant.shipped else None


def card_of(variant: Variant) -> Path | None:
    """What the weights are and how they were made, in Markdown; None as `weights_of`."""
    return _FOLDER / f"{variant.name}.md" if variant.shipped else None
