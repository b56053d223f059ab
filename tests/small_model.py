"""A model with one block per stage, which TensorFlow traces faster than the shipped one."""

import contextlib
import dataclasses
from collections.abc import Iterator

import pytest

import cait_tf

SMALL = dataclasses.replace(
    cait_tf.VARIANTS["cait_nano_32"],
    name="cait_small_16",
    image_size=16,
    patch_size=8,
    embed_dim=32,
    depth=1,
    depth_token_only=1,
    shipped=False,
)
#: Overrides that select the model.
WORDS = (f"model.name={SMALL.name}", "model.weights=none")


@contextlib.contextmanager
def small_variant() -> Iterator[str]:
    """Register the model inside the block, and yield its name."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("cait_tf.variants.VARIANTS", {**cait_tf.VARIANTS, SMALL.name: SMALL})
        yield SMALL.name


@pytest.fixture(scope="module", autouse=True)
def small_model() -> Iterator[None]:
    """Register the model for all tests of a module that imports this fixture."""
    with small_variant():
        yield
