"""A model with one block per stage, which TensorFlow traces faster than the shipped one.

A test module that imports the fixture `small_model` may name the model in its runs, with `WORDS`.
"""

import dataclasses

import pytest

import cait_tf

VARIANT = dataclasses.replace(
    cait_tf.VARIANTS["cait_nano_32"],
    name="cait_small_16",
    image_size=16,
    embed_dim=32,
    depth=1,
    depth_token_only=1,
    shipped=False,
)
WORDS = (f"model.name={VARIANT.name}", "model.weights=none")


@pytest.fixture(scope="module", autouse=True)
def small_model():
    """Register the model for all tests of the module."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cait_tf.variants.VARIANTS", {**cait_tf.VARIANTS, VARIANT.name: VARIANT})
        yield
