"""The structure of every variant at a small width, and one variant at full size."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from cait_tf import VARIANTS, collection, create_model, load_weights, save_weights
from cait_tf.weights import timm
from cait_tf.weights.collection import read
from cait_tf.weights.load import parameters
from tests.cait_tf import golden

NARROW = {"embed_dim": 8, "num_heads": 2, "image_size": 32, "num_classes": 3}


def narrow(name):
    """Return a variant with all its blocks but only 8 channels, for 32-pixel images."""
    return create_model(name, **NARROW)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_every_configuration_gives_the_same_model_again(name, hollow_models):
    model = hollow_models[name]
    with keras.StatelessScope(initialize_variables=False):
        again = type(model).from_config(model.get_config())
    keras.utils.clear_session()
    assert again.get_config() == model.get_config()
    shapes = [
        {key: tuple(variable.shape) for key, variable in parameters(one).items()}
        for one in (model, again)
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cait_nano_32", "cait_xxs36_224"])
def test_keras_own_format(name, tmp_path):
    model = narrow(name)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    golden.assert_same(golden.values(loaded), golden.values(model))
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32")
    golden.assert_near(loaded(images), np.asarray(model(images)), 1e-6)


@pytest.mark.slow
def test_the_deepest_of_the_collection(tmp_path):
    model, variant = narrow("cait_m48_448"), VARIANTS["cait_m48_448"]
    collection.write_saved_model(model, tmp_path / "model")
    served = tf.saved_model.load(str(tmp_path / "model")).signatures["serving_default"]
    assert set(served.structured_outputs) == (
        {"output_1", "output_3_ca_ffn_block_0_att", "output_3_ca_ffn_block_1_att"}
        | {f"output_2_sa_ffn_block_{i}_att" for i in range(variant.depth)}
    )
    golden.assert_same(read(tmp_path / "model"), golden.values(model))


@pytest.fixture(scope="module")
def full_size(tmp_path_factory):
    """A random weights file of cait_xxs24_224."""
    model = create_model("cait_xxs24_224")
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if variable.path.endswith("gamma"):  # small LayerScale weights would hide the blocks
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    path = tmp_path_factory.mktemp("full") / "cait_xxs24_224.safetensors"
    save_weights(model, path)
    return path


@pytest.mark.slow
def test_one_at_its_full_size(full_size, tmp_path):
    entry = collection.entry("cait_xxs24_224")
    assert collection.build(entry, str(full_size), tmp_path) < 1e-4
    golden.assert_same(read(tmp_path / entry.name), timm.read(full_size))


@pytest.mark.slow
@pytest.mark.parametrize(("size", "grid"), [(320, (20, 20)), ([224, 320], (14, 20))])
def test_its_weights_at_another_resolution(full_size, size, grid):
    model = create_model("cait_xxs24_224", image_size=size)
    report = load_weights(model, full_size)
    assert report.resampled == ("pos_embed",)
    height, width = grid[0] * 16, grid[1] * 16
    images = np.random.default_rng(0).normal(size=(1, height, width, 3)).astype("float32")
    logits, maps = model(images, return_attention=True)
    patches = grid[0] * grid[1]
    assert logits.shape == (1, 1000)
    assert maps["sa_ffn_block_23_att"].shape == (1, 4, patches, patches)
    assert maps["ca_ffn_block_1_att"].shape == (1, 4, 1, 1 + patches)
