"""Exported files preprocess pixels as evaluation does, within one grey level."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from cait_finetune.export.pixels import frozen_function, image_model, write_labels
from cait_finetune.scores.activation import SIGMOID, SOFTMAX
from cait_finetune.scores.numbers import Numbers
from cait_finetune.scores.probabilities import Probabilities
from tests.cait_finetune.export.exported_models import (
    NAMES,
    SIZES,
    TARGETS,
    UNITS,
    lively_model,
    lively_regressor,
    preprocessing,
)
from tests.cait_finetune.stand_ins import picture

WAYS = [
    {"resize_mode": mode, "crop_pct": crop, "interpolation": kernel, "antialias": antialias}
    for mode, crop, kernel, antialias in itertools.product(
        ("shorter_side", "squash", "pad"), (1.0, 0.875), ("bicubic", "bilinear"), (True, False)
    )
]


@pytest.fixture(scope="module")
def exported():
    return lively_model()


@pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(map(str, way.values())))
def test_pixels_are_resized_as_in_evaluation(exported, way):
    own = preprocessing(**way)
    model = image_model(type(exported)(exported.model, own, NAMES, "cait_nano_32"))
    for size in (*SIZES, (1, 7), (8, 8)):
        image = picture(*size)
        wanted = own(tf.constant(image)).numpy()
        got = np.array(model.preprocess(image[None]))[0]
        levels = np.abs(got - wanted) * 255 * np.array(own.std)
        assert levels.max() < 1.01
        assert (levels > 0.5).mean() < 0.03


def test_the_weights_are_constants_of_the_function(exported):
    concrete = frozen_function(exported, texts=True).get_concrete_function()
    assert not concrete.variables
    assert not concrete.captured_inputs
    assert concrete.structured_outputs["probabilities"].shape.as_list() == [None, 4]


@pytest.mark.slow
@pytest.mark.parametrize("activation", [SOFTMAX, SIGMOID])
def test_the_most_probable_class_is_named(activation):
    exported = lively_model(postprocessing=Probabilities(activation, 1.7))
    images = np.stack([picture(40, 50, seed) for seed in range(6)])
    named = {key: one.numpy() for key, one in frozen_function(exported, True)(images).items()}
    index = {key: one.numpy() for key, one in frozen_function(exported, False)(images).items()}
    wanted = image_model(exported)(images).numpy()
    for outputs in (named, index):
        np.testing.assert_allclose(outputs["probabilities"], wanted, atol=1e-6)
        np.testing.assert_array_equal(outputs["probability"], outputs["probabilities"].max(-1))
    np.testing.assert_array_equal(index["predicted_index"], wanted.argmax(-1))
    assert len(set(wanted.argmax(-1))) > 1
    assert [name.decode() for name in named["class_names"]] == NAMES
    assert [name.decode() for name in named["predicted_class"]] == [
        NAMES[column] for column in wanted.argmax(-1)
    ]


def test_labels_are_one_a_line_in_order(exported, tmp_path):
    odd = type(exported)(exported.model, exported.preprocessing, ["a\nb", "ü c"], "cait_nano_32")
    write_labels(odd, tmp_path)
    assert (tmp_path / "labels.txt").read_text(encoding="utf-8").splitlines() == ["a b", "ü c"]


@pytest.mark.slow
@pytest.mark.parametrize("texts", [True, False])
def test_a_regressor_returns_numbers_and_their_intervals(texts):
    exported = lively_regressor()
    images = np.stack([picture(40, 50, seed) for seed in range(4)])
    got = {key: one.numpy() for key, one in frozen_function(exported, texts)(images).items()}
    assert set(got) == {"prediction", "lower", "upper", *["target_names"] * texts}
    prepared = tf.stack([exported.preprocessing(tf.constant(image)) for image in images])
    wanted = np.asarray(exported.model(prepared, training=False))
    for name, shift in (("prediction", 0), ("lower", -0.5), ("upper", 0.5)):  # half widths
        assert (np.abs(got[name] - wanted - shift * UNITS) / UNITS).max() < 1e-3
    if texts:
        assert [name.decode() for name in got["target_names"]] == TARGETS
    plain = type(exported)(
        exported.model, exported.preprocessing, TARGETS, "cait_nano_32", Numbers(0.1)
    )
    assert set(frozen_function(plain, False)(images)) == {"prediction"}
    assert image_model(plain).half_widths is None
    assert image_model(exported).alpha == 0.1
