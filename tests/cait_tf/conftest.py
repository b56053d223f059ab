import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest

from cait_tf import VARIANTS, CaiTClassifier, create_model, load_weights
from tests.cait_tf import golden


@pytest.fixture(scope="session")
def golden_classifier() -> CaiTClassifier:
    """A classifier with the golden weights. All tests share it, so do not change it."""
    model = golden.classifier()
    load_weights(model, golden.SAFETENSORS)
    return model


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """The four normalised images of the golden forward pass."""
    return golden.arrays("forward")["images_nhwc"]


@pytest.fixture(scope="session")
def hollow_models() -> dict[str, CaiTClassifier]:
    """Every variant, with paths and shapes of its variables but no memory for their values."""
    with keras.StatelessScope(initialize_variables=False):
        models = {name: create_model(name) for name in VARIANTS}
    # Otherwise Keras would allocate and initialise every variable at the end of the next scope.
    keras.utils.clear_session()
    return models
