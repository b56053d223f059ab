"""The structure of every variant at a small width, and one variant at full size."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from cait_tf import VARIANTS, collection, create_model, load_weights, save_weights
from cait_tf.weights import timm
from cait_tf.weights.assign import parameters
from cait_tf.weights.collection import read
from tests.cait_tf import golden

#: 8 channels for all blocks, and 32-pixel images.
NARROW = {"embed_dim": 8, "num_heads": 2, "image_size": 32, "num_classes": 3}


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
def test_a_keras_file_restores_36_blocks_in_order(tmp_path):
    """36 blocks: Keras numbers the layers, and sorted as text 10 comes before 2."""
    model = create_model("cait_xxs36_224", **NARROW)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_config() == model.get_config()
    golden.assert_same(golden.values(loaded), golden.values(model))
    images = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype("float32")
    golden.assert_near(loaded(images), np.asarray(model(images)), 1e-6)


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
def test_a_full_size_model_exports_every_tensor_and_output(full_size, tmp_path):
    entry = collection.entry("cait_xxs24_224")
    assert collection.build(entry, str(full_size), tmp_path) < 1e-4
    golden.assert_same(read(tmp_path / entry.name), timm.read(full_size))
    (graph,) = SavedModel.FromString(
        (tmp_path / entry.name / "saved_model.pb").read_bytes()
    ).meta_graphs
    assert set(graph.signature_def["serving_default"].outputs) == (
        {"output_1", "output_3_ca_ffn_block_0_att", "output_3_ca_ffn_block_1_att"}
        | {f"output_2_sa_ffn_block_{i}_att" for i in range(entry.variant.depth)}
    )


@pytest.mark.slow
@pytest.mark.parametrize(("size", "grid"), [(320, (20, 20)), ([224, 320], (14, 20))])
def test_full_size_weights_load_at_another_resolution(full_size, size, grid):
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
