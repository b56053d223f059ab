"""The feature pyramid: sizes, files, precision, and KerasCV's heads on it."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import cait_tf
from cait_tf.errors import CaiTError
from tests.cait_finetune.tiny import tiny_model

SIZE = {"image_size": [64, 96], "depth": 1}
IMAGES = np.random.default_rng(0).normal(size=(2, 64, 96, 3)).astype("float32")


def pyramid_of(levels=("P2", "P5"), channels=8, **options) -> cait_tf.CaiTPyramid:
    return cait_tf.CaiTPyramid(tiny_model(**{**SIZE, **options}).backbone, levels, channels)


@pytest.mark.parametrize("patch_size", [4, 8, 16, 32])
def test_a_level_is_a_power_of_two_smaller_than_the_image(patch_size):
    pyramid = pyramid_of(("P2", "P3", "P4", "P5"), (8, 9, 10, 11), patch_size=patch_size)
    shapes = {level: one.shape for level, one in pyramid.output.items()}
    assert shapes == {
        "P2": (None, 16, 24, 8),
        "P3": (None, 8, 12, 9),
        "P4": (None, 4, 6, 10),
        "P5": (None, 2, 3, 11),
    }
    assert {key: one.shape for key, one in pyramid.pyramid_outputs.items()} == shapes
    for level, name in pyramid.pyramid_level_inputs.items():
        assert pyramid.get_layer(name).output.shape == shapes[level]


def test_the_trunk_is_that_of_the_backbone():
    pyramid = pyramid_of()
    trunk = keras.Model(pyramid.input, pyramid.get_layer("trunk").output)
    _, (wanted,) = pyramid.backbone.forward_intermediates(IMAGES, 1)
    np.testing.assert_allclose(np.array(trunk(IMAGES)), np.array(wanted), atol=1e-6)
    names = {variable.path for variable in pyramid.variables}
    assert {variable.path for variable in pyramid.backbone.variables} < names


def test_a_file_has_all_weights(tmp_path):
    pyramid = pyramid_of(channels=(8, 12))
    wanted = pyramid(IMAGES)
    pyramid.save(tmp_path / "a.keras")
    loaded = keras.saving.load_model(tmp_path / "a.keras")
    other = pyramid_of(channels=(8, 12), seed=1)
    pyramid.save_weights(tmp_path / "a.weights.h5")
    other.load_weights(tmp_path / "a.weights.h5")
    for model in (loaded, other):
        assert (model.levels, model.channels) == (("P2", "P5"), (8, 12))
        for level, one in model(IMAGES).items():
            np.testing.assert_array_equal(np.array(one), np.array(wanted[level]))


def test_layer_norms_stay_in_float32_under_mixed_precision():
    pyramid = pyramid_of(dtype="mixed_bfloat16")
    assert pyramid.get_layer("p5_conv3").compute_dtype == "bfloat16"
    for level in ("p2", "p5"):
        assert pyramid.get_layer(level).compute_dtype == "float32"
    for one in pyramid(IMAGES).values():
        assert np.isfinite(np.array(one)).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"levels": "P2"}, r"levels: got 'P2', expected some of P2, P3, P4, P5, each once"),
        ({"levels": []}, r"levels: got \[\], expected some of"),
        ({"levels": ["P2", "P2"]}, r"levels: got \['P2', 'P2'\], expected .* each once"),
        ({"levels": ["P2", "P6"]}, r"levels: got 'P6', expected some of"),
        ({"channels": [8]}, r"channels: got 1 numbers, expected 2, one a level"),
        ({"channels": 0}, r"channels: got 0, expected a whole number from 1"),
        ({"image_size": [48, 80]}, r"image_size: got 48x80, expected multiples of 32 for level P5, "
                                   r"for instance 64x64"),
        ({"patch_size": 12, "image_size": 96}, r"backbone: got patches of 12 pixels, expected a "),
    ],
)  # fmt: skip
def test_what_cannot_be_a_pyramid_is_refused(arguments, message):
    with pytest.raises(CaiTError, match=f"^{message}"):
        pyramid_of(**arguments)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["deeplab", "segformer"])
def test_a_head_of_keras_cv_trains_and_survives_a_file(head, tmp_path):
    """The pixels of the right half are of the second class."""
    import keras_cv
    import tensorflow as tf

    if head == "deeplab":
        pyramid = pyramid_of(channels=16)
        model = keras_cv.models.DeepLabV3Plus(pyramid, 2, projection_filters=8)
    else:
        pyramid = pyramid_of(("P2", "P3", "P4", "P5"), (8, 12, 16, 20))
        model = keras_cv.models.SegFormer(pyramid, 2, projection_filters=16)
    truth = np.zeros(IMAGES.shape[:3], "int32")
    truth[:, :, 48:] = 1
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    before = pyramid.backbone.pos_embed.numpy().copy()
    losses = model.fit(IMAGES, truth, batch_size=2, epochs=6, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert not np.array_equal(before, pyramid.backbone.pos_embed.numpy())
    wanted = np.array(model(IMAGES, training=False))
    assert wanted.shape == (2, 64, 96, 2)
    model.save(tmp_path / "a.keras")
    loaded = keras.saving.load_model(tmp_path / "a.keras")
    np.testing.assert_allclose(np.array(loaded(IMAGES, training=False)), wanted, atol=1e-6)
    # `model.export` serves SegFormer with its BatchNorm in training mode, on any backbone (Keras 3.15).
    archive = keras.export.ExportArchive()
    archive.track(model)
    images = keras.InputSpec(dtype="float32", shape=(None, *IMAGES.shape[1:]))
    archive.add_endpoint("serve", lambda x: model(x, training=False), [images])
    archive.write_out(tmp_path / "served", verbose=False)
    served = tf.saved_model.load(str(tmp_path / "served"))
    np.testing.assert_allclose(served.serve(IMAGES).numpy(), wanted, atol=1e-5)
