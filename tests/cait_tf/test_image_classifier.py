"""A classifier of pixels: its saved configuration, preprocessing and outputs."""

import keras
import numpy as np
import pytest

import cait_tf

IMAGE = np.random.default_rng(0).integers(0, 256, (2, 41, 30, 3)).astype("uint8")


def classifier(**changes) -> cait_tf.ImageClassifier:
    keras.utils.set_random_seed(0)
    model = cait_tf.CaiTClassifier(
        3, image_size=16, patch_size=8, embed_dim=8, depth=1, depth_token_only=1, num_heads=2
    )
    model.head.bias.assign([0.5, -1.0, 2.0])
    config = {"crop_pct": 0.8, "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.2] * 3}
    config |= {"classifier": model, "class_names": ["a", "b", "ü"]}
    return cait_tf.ImageClassifier(**{**config, **changes})


def test_a_saved_file_restores_the_same_model(tmp_path):
    model = classifier(resize_mode="pad", antialias=False, temperature=1.7, activation="sigmoid")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert isinstance(loaded, cait_tf.ImageClassifier)
    assert loaded.class_names == ("a", "b", "ü")
    assert loaded.get_config() == model.get_config()
    np.testing.assert_allclose(loaded(IMAGE), model(IMAGE), atol=1e-7)


@pytest.mark.parametrize(("several", "activation"), [(True, "sigmoid"), (False, "softmax")])
def test_files_of_earlier_versions_state_the_activation_otherwise(several, activation):
    config = classifier(activation=activation).get_config()
    del config["activation"]
    loaded = cait_tf.ImageClassifier.from_config({**config, "multi_label": several})
    assert loaded.activation == activation


@pytest.mark.slow
def test_weights_of_another_preparation_are_refused(tmp_path):
    path = tmp_path / "a.weights.h5"
    model = classifier(crop_pct=0.9)
    model.save_weights(path)
    classifier(crop_pct=0.9).load_weights(path)
    other = classifier(temperature=2.0)
    with pytest.raises(
        ValueError, match=r"of a model with crop_pct 0.9; temperature 1.0, expected"
    ):
        other.load_weights(path)
    with pytest.raises(
        cait_tf.WeightsError, match=r"got an ImageClassifier.*\n  Give model\.class"
    ):
        cait_tf.load_weights(other, path)


def test_probabilities_are_of_the_logits_divided_by_the_temperature():
    model = classifier(temperature=2.0)
    logits = np.array(model.classifier(model.preprocess(IMAGE))) / 2
    odds = np.exp(logits)
    np.testing.assert_allclose(model(IMAGE), odds / odds.sum(-1, keepdims=True), atol=1e-6)


def test_sigmoid_probabilities_are_those_of_the_scaled_logits():
    model = classifier(activation="sigmoid", temperature=0.5)
    logits = np.array(model.classifier(model.preprocess(IMAGE))) / 0.5
    np.testing.assert_allclose(model(IMAGE), 1 / (1 + np.exp(-logits)), atol=1e-6)


@pytest.mark.parametrize("call", ["__call__", "predict"])
@pytest.mark.parametrize(
    ("kind", "advice"),
    [("float32", "cast(images, 'uint8')"), ("int8", "cast(images, 'uint8')"),
     ("uint16", "Divide 16-bit levels by 257"), ("int32", "cast(images, 'uint8')")],
)  # fmt: skip
def test_images_of_other_levels_are_refused(call, kind, advice):
    with pytest.raises(cait_tf.CaiTError, match=f"images: got {kind}, expected uint8") as caught:
        getattr(classifier(), call)(IMAGE.astype(kind))
    assert advice in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["shorter_side", "squash", "pad"])
@pytest.mark.parametrize("shape", [(41, 30), (30, 41), (16, 16), (3, 5)])
def test_preprocess_resizes_any_image_to_the_model_size(mode, shape):
    image = np.full((1, *shape, 3), 255, "uint8")
    seen = np.array(classifier(resize_mode=mode).preprocess(image))
    assert seen.shape == (1, 16, 16, 3)
    middle, corner = seen[0, 8, 8], seen[0, 0, 0]
    np.testing.assert_allclose(middle, 2.5, atol=1e-5)  # white, (1 - .5) / .2
    beside = mode == "pad" and shape[0] != shape[1]
    np.testing.assert_allclose(corner, -2.5 if beside else 2.5, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"resize_mode": "crop"}, "resize_mode: got 'crop', expected one of shorter_side"),
        ({"interpolation": "nearest"}, "interpolation: got 'nearest', expected one of bicubic"),
        ({"class_names": ["a"]}, "class_names: got 1, expected 3"),
        (
            {"classifier": cait_tf.CaiTClassifier(3, ["b", "a", "ü"], embed_dim=48, depth=1)},
            "class_names: got a, b, ü, expected the classifier's: b, a, ü",
        ),
    ],
)
def test_invalid_arguments_raise_an_error_that_names_them(changes, message):
    with pytest.raises(cait_tf.CaiTError, match=message):
        classifier(**changes)
