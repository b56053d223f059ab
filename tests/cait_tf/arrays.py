"""Shapes and arrays that several test modules of layers use."""

from __future__ import annotations

import numpy as np

PATCHES, CLS = (2, 9, 12), (2, 1, 12)


def normal(*shape):
    return np.random.default_rng(0).normal(size=shape).astype("float32")


def randomise(layer):
    """Assign weights large enough that each weight affects the output."""
    rng = np.random.default_rng(1)
    for variable in layer.weights:
        if "seed" not in variable.path:
            variable.assign(rng.normal(size=variable.shape))
