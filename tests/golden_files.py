"""The reference outputs in ``tests/golden``, made with timm and the original collection's code."""

import json
from functools import cache
from pathlib import Path

import numpy as np

import cait_tf

GOLDEN = Path(__file__).parent / "golden"
TINY = {
    "image_size": 64,
    "patch_size": 16,
    "embed_dim": 96,
    "depth": 3,
    "depth_token_only": 2,
    "num_heads": 2,
}


def arrays(name: str) -> dict[str, np.ndarray]:
    """Return every array of a golden ``.npz`` file."""
    with np.load(GOLDEN / f"{name}.npz") as file:
        return dict(file)


def tiny_classifier(**kwargs) -> cait_tf.CaiTClassifier:
    """Return a model of the golden files' geometry, with random weights."""
    return cait_tf.CaiTClassifier(**{**TINY, "num_classes": 7, **kwargs})


@cache
def layer_decay_scales() -> dict:
    """Return timm's parameter counts, learning-rate scales and weight decays of ten variants."""
    return json.loads((GOLDEN / "layer_decay_scales.json").read_text())
