"""Describe the initial weights of a run and their licence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cait_finetune.export.places import short_place
from cait_tf.variants import get_variant

_APACHE = "apache-2.0"  # licence of timm's weights, the CaiT authors' weights and our own


@dataclass(frozen=True)
class Start:
    """The initial weights of a run.

    Attributes:
        began: how training started, as text for the model card.
        terms: source and licence of the weights, as sentences for the model card.
        license: the hub's identifier of the licence. `None`: unknown or not applicable.
        base_model: hub repository of published weights. `None`: other weights.
    """

    began: str
    terms: str
    license: str | None = None
    base_model: str | None = None


def start_of(config: Mapping[str, Any]) -> Start:
    """Return the initial weights of the run with the ``config.yaml`` `config`."""
    weights, name = str(config["model"]["weights"]), config["model"]["name"]
    if weights == "none":
        return Start("trained from random weights", "Training started from random weights.")
    if weights == "pretrained" and get_variant(name).shipped:
        ours = "the pretrained weights that come with cait-finetune"
        terms = f"Training started from {ours}, under the Apache License 2.0."
        return Start(f"fine-tuned from {ours}", terms, _APACHE)
    published = weights in ("pretrained", "hub", "official")
    if published or weights.startswith("timm/"):
        base = f"timm/{name}.fb_dist_in1k" if published else weights
        terms = f"Training started from {base}, which is under the Apache License 2.0."
        began = f"fine-tuned from [{base}](https://huggingface.co/{base})"
        return Start(began, terms, _APACHE, base)
    shown = short_place(weights)
    terms = f"Training started from `{shown}`, whose licence applies."
    return Start(f"fine-tuned from `{shown}`", terms)
