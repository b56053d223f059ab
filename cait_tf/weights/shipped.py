"""Find the weights in this package: those of our own models, each with a model card."""

from __future__ import annotations

from pathlib import Path

from cait_tf.variants import Variant

_FOLDER = Path(__file__).resolve().parents[1] / "pretrained"


def weights_of(variant: Variant) -> Path | None:
    """Return the safetensors file of a variant. `None`: this package has no weights for it."""
    return _FOLDER / f"{variant.name}.safetensors" if variant.shipped else None


def card_of(variant: Variant) -> Path | None:
    """Return the Markdown file of a variant's model card. `None`: as for `weights_of`."""
    return _FOLDER / f"{variant.name}.md" if variant.shipped else None
