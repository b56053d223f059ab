"""The golden model for these tests: built with or without a head, and compared by name.

The golden files hold what timm and the original collection compute from the same weights, so a test
that agrees with them agrees with the published models.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cait_tf import CaiTBackbone
from cait_tf.weights.assign import parameters
from tests.golden_files import GOLDEN, arrays, layer_decay_scales
from tests.golden_files import TINY as GEOMETRY
from tests.golden_files import tiny_classifier as classifier

__all__ = ["GEOMETRY", "GOLDEN", "arrays", "classifier", "layer_decay_scales", "parameters"]

SAFETENSORS = GOLDEN / "weights_timm.safetensors"
PTH = GOLDEN / "weights_official.pth"
COLLECTION = GOLDEN / "cait_tf_hub"

PATCHES = 16
TRUNK_MAPS = [f"sa_ffn_block_{i}_att" for i in range(3)]
CLASS_MAPS = [f"ca_ffn_block_{j}_att" for j in range(2)]


def backbone(**changes: Any) -> CaiTBackbone:
    """Return a built backbone of the golden geometry, with random weights."""
    model = CaiTBackbone(**{**GEOMETRY, **changes})
    model.build()
    return model


def values(model: Any) -> dict[str, np.ndarray]:
    """Return a copy of every parameter, by timm name, in Keras' layout."""
    return {name: np.array(variable) for name, variable in parameters(model).items()}


def assert_near(got: Any, expected: np.ndarray, tolerance: float = 1e-4) -> None:
    """Assert equal shapes and elements within `tolerance` of the expected ones."""
    got = np.asarray(got)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance)


def assert_same(got: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    """Assert equal names and bit-equal arrays."""
    assert set(got) == set(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(got[name], array, err_msg=name)
