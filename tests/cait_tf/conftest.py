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
    """The golden weights in a classifier. Shared: read it, do not change it."""
    model = golden.classifier()
    load_weights(model, golden.SAFETENSORS)
    return model


@pytest.fixture(scope="session")
def images() -> np.ndarray:
    """The four normalised images of the golden forward pass."""
    return golden.arrays("forward")["images_nhwc"]


@pytest.fixture(scope="session")
def hollow_models() -> dict[str, CaiTClassifier]:
    """Every variant with its variables' paths and shapes, but no memory behind them."""
    with keras.StatelessScope(initialize_variables=False):
        models = {name: create_model(name) for name in VARIANTS}
    # Keras keeps a list of variables to initialise the next time a scope ends: 3 GB of them.
    keras.utils.clear_session()
    return models
