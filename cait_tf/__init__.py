"""CaiT (Class-Attention in Image Transformers) on Keras 3.

Names load on first use, so that the variant table can be read without importing Keras.
"""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "VARIANTS": "variants",
    "Variant": "variants",
    "CaiTError": "errors",
    "WeightsError": "errors",
    "CaiTBackbone": "backbone",
    "CaiTClassifier": "classifier",
    "CaiTRegressor": "regressor",
    "CaiTSegmenter": "segmenter",
    "ImageClassifier": "image_classifier",
    "ImageRegressor": "image_regressor",
    "ImageSeveralClassifier": "image_several",
    "CaiTPyramid": "pyramid",
    "create_model": "models",
    "get_variant": "variants",
    "preprocess": "preprocessing",
    "LoadingReport": "weights.report",
    "load_weights": "weights.load",
    "save_weights": "weights.load",
    "use_fused": "fused",
}
__all__ = list(_HOMES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
