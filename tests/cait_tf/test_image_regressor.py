"""A regressor of pixels: its saved configuration, intervals and outputs."""

import keras
import numpy as np
import pytest

import cait_tf

IMAGE = np.random.default_rng(0).integers(0, 256, (2, 41, 30, 3)).astype("uint8")
SMALL = {"image_size": 16, "patch_size": 8, "embed_dim": 8, "depth": 1, "depth_token_only": 1,
         "num_heads": 2}  # fmt: skip
IMAGES = {"crop_pct": 0.8, "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.2] * 3}


def regressor(**changes) -> cait_tf.ImageRegressor:
    keras.utils.set_random_seed(0)
    model = cait_tf.CaiTRegressor(2, **SMALL)
    model.target_scale.set([10.0, -1.0], [3.0, 0.5])
    config = {**IMAGES, "regressor": model, "target_names": ["a", "ü"]}
    return cait_tf.ImageRegressor(**{**config, **changes})


def test_a_saved_file_restores_the_same_model(tmp_path):
    model = regressor(resize_mode="pad", antialias=False, alpha=0.1, half_widths=[0.5, np.inf])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, cait_tf.ImageRegressor)
    assert loaded.get_config() == model.get_config()
    assert (loaded.target_names, loaded.half_widths) == (("a", "ü"), (0.5, np.inf))
    np.testing.assert_allclose(loaded(IMAGE), model(IMAGE), rtol=1e-6)
    inner = cait_tf.CaiTRegressor(2, ["ü", "a"], **SMALL)
    assert cait_tf.load_weights(inner, tmp_path / "model.keras").initialised == ()
    np.testing.assert_array_equal(inner.target_scale.mean, [-1.0, 10.0])


def test_numbers_are_those_of_the_regressor():
    model = regressor()
    wanted = model.regressor(model.preprocess(IMAGE))
    np.testing.assert_array_equal(model(IMAGE), wanted)
    found = model.estimate(IMAGE)
    assert set(found) == {"prediction", "target_names"}
    np.testing.assert_array_equal(found["prediction"], wanted)
    assert found["target_names"].tolist() == ["a", "ü"]
    with pytest.raises(cait_tf.CaiTError, match="half_widths: got None"):
        model.interval(wanted)


def test_intervals_have_the_half_widths():
    found = regressor(alpha=0.1, half_widths=[0.25, np.inf]).estimate(IMAGE)
    np.testing.assert_allclose(found["prediction"][:, 0] - found["lower"][:, 0], 0.25, rtol=1e-5)
    np.testing.assert_allclose(found["upper"][:, 0] - found["prediction"][:, 0], 0.25, rtol=1e-5)
    assert (found["lower"][:, 1] == -np.inf).all()
    assert (found["upper"][:, 1] == np.inf).all()
    assert {one.dtype for key, one in found.items() if key != "target_names"} == {np.dtype("f4")}


@pytest.mark.slow
def test_weights_of_other_intervals_are_refused(tmp_path):
    path = tmp_path / "a.weights.h5"
    model = regressor(half_widths=[1.0, 2.0])
    model.save_weights(path)
    regressor(half_widths=[1.0, 2.0]).load_weights(path)
    with pytest.raises(ValueError, match=r"of a model with half_widths \[1.0, 2.0\], expected"):
        regressor().load_weights(path)
    with pytest.raises(cait_tf.WeightsError, match=r"got an ImageRegressor.*\n  Give model\.regr"):
        cait_tf.load_weights(model, path)


@pytest.mark.slow
def test_the_other_task_is_refused(tmp_path):
    classifier = cait_tf.CaiTClassifier(2, **SMALL)
    with pytest.raises(
        cait_tf.CaiTError, match="regressor: got a CaiTClassifier, expected a CaiTR"
    ):
        regressor(regressor=classifier)
    with pytest.raises(
        cait_tf.CaiTError, match="classifier: got a CaiTRegressor, expected a CaiTC"
    ):
        cait_tf.ImageClassifier(cait_tf.CaiTRegressor(2, **SMALL), ["a", "b"], **IMAGES)
    images = cait_tf.ImageClassifier(classifier, ["a", "ü"], **IMAGES)
    images.save_weights(tmp_path / "a.weights.h5")
    with pytest.raises(ValueError, match=r"half_widths None, expected"):
        regressor(half_widths=[1.0, 2.0]).load_weights(tmp_path / "a.weights.h5")
    regressor().save_weights(tmp_path / "b.weights.h5")
    with pytest.raises(ValueError, match="got a file of a model with temperature None"):
        images.load_weights(tmp_path / "b.weights.h5")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resize_mode": "crop"}, "resize_mode: got 'crop', expected one of shorter_side"),
        ({"target_names": ["a"]}, "target_names: got 1, expected 2, one for each target"),
        ({"alpha": 1.0, "half_widths": [1, 1]}, "alpha: got 1.0, expected a number between 0 and 1"),
        ({"alpha": 0.1}, "half_widths: got None with alpha=0.1, expected 2 numbers"),
        ({"half_widths": [1.0]}, r"half_widths: got shape \(1,\), expected \(2,\)"),
        ({"half_widths": [1.0, np.nan]}, "half_widths: got nan, expected numbers of at least 0"),
        ({"half_widths": [-1.0, 1.0]}, "half_widths: got -1.0, expected numbers of at least 0"),
    ],
)  # fmt: skip
def test_invalid_arguments_raise_an_error_that_names_them(changes, message):
    with pytest.raises(cait_tf.CaiTError, match=message):
        regressor(**changes)


def test_images_of_other_levels_are_refused():
    with pytest.raises(cait_tf.CaiTError, match="images: got float32, expected uint8"):
        regressor()(IMAGE.astype("float32"))
