"""Exported files preprocess pixels as evaluation does, within one grey level."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from cait_finetune.export.pixels import frozen_function, image_classifier, write_labels
from cait_finetune.scores.activation import SIGMOID, SOFTMAX
from cait_finetune.scores.postprocessing import Probabilities
from tests.cait_finetune.export.exported_models import NAMES, SIZES, lively_model, preprocessing
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
    model = image_classifier(type(exported)(exported.model, own, NAMES, "cait_nano_32"))
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
    wanted = image_classifier(exported)(images).numpy()
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
