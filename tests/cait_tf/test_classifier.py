import keras
import numpy as np
import pytest
import tensorflow as tf

from cait_tf import CaiTClassifier, CaiTError, load_weights
from tests.cait_tf import golden


def test_logits_are_the_golden_ones(golden_classifier, images):
    golden.assert_near(golden_classifier(images), golden.arrays("forward")["logits"])


def test_attention_comes_with_the_same_logits(golden_classifier, images):
    logits, maps = golden_classifier(images, return_attention=True)
    np.testing.assert_allclose(logits, golden_classifier(images), atol=1e-5)
    assert list(maps) == [*golden.TRUNK_MAPS, *golden.CLASS_MAPS]


@pytest.mark.slow
def test_a_plain_call_has_one_output_in_its_graph(golden_classifier, images):
    spec = tf.TensorSpec([None, 64, 64, 3])
    plain = tf.function(lambda x: golden_classifier(x)).get_concrete_function(spec)
    asked = tf.function(lambda x: golden_classifier(x, return_attention=True))
    assert len(plain.outputs) == 1
    assert len(asked.get_concrete_function(spec).outputs) == 1 + 3 + 2
    golden.assert_near(plain(tf.constant(images)), golden.arrays("forward")["logits"])


@pytest.mark.slow
def test_predict_gives_the_golden_logits(golden_classifier, images):
    got = golden_classifier.predict(images, batch_size=3, verbose=0)
    golden.assert_near(got, golden.arrays("forward")["logits"])


def test_it_is_built_at_once():
    model = CaiTClassifier(**golden.GEOMETRY, num_classes=3)
    assert model.built
    assert model.head.kernel.shape == (96, 3)


@pytest.mark.parametrize(("dtype", "tolerance"), [("mixed_bfloat16", 0.1), ("mixed_float16", 0.02)])
def test_mixed_precision_logits_are_float32_and_near(dtype, tolerance, images):
    model = golden.classifier(dtype=dtype)
    load_weights(model, golden.SAFETENSORS)
    logits = model(images)
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"
    golden.assert_near(logits, golden.arrays("forward")["logits"], tolerance)


@pytest.mark.slow
def test_it_trains_with_keras_own_fit(images):
    keras.utils.set_random_seed(0)
    model = golden.classifier(depth=1, depth_token_only=1, drop_path_rate=0.1, layer_scale_init=0.1)
    model.compile(
        keras.optimizers.Adam(1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
    )
    losses = model.fit(images, np.arange(4), epochs=8, batch_size=4, verbose=0).history["loss"]
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("num_classes", [0, -1])
def test_a_head_needs_a_class(num_classes):
    with pytest.raises(
        CaiTError, match=f"num_classes: got {num_classes}, expected a whole number of at least 1"
    ):
        golden.classifier(num_classes=num_classes)


def test_an_unknown_argument_is_refused():
    with pytest.raises(ValueError, match="drop_path"):
        golden.classifier(drop_path=0.1)


def test_structure_is_the_backbones():
    model = golden.classifier()
    assert model.num_layer_ids == model.backbone.num_layer_ids == 5
    assert model.layer_id(model.head.bias.path) == 4
    assert model.layer_id(model.backbone.pos_embed.path) == 0
    assert model.no_weight_decay() == {"cls_token", "pos_embed"}


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_config_round_trip(dtype):
    model = golden.classifier(dtype=dtype, drop_path_rate=0.1, image_size=[32, 64], name="mine")
    clone = CaiTClassifier.from_config(model.get_config())
    assert clone.get_config() == model.get_config()
    assert clone.name == "mine"
    assert clone.dtype_policy == model.dtype_policy
    assert [v.path for v in clone.weights] == [v.path for v in model.weights]


def test_keras_file_round_trip(golden_classifier, images, tmp_path):
    golden_classifier.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is CaiTClassifier
    np.testing.assert_array_equal(loaded(images), golden_classifier(images))


def test_keras_weights_round_trip(golden_classifier, images, tmp_path):
    golden_classifier.save_weights(tmp_path / "model.weights.h5")
    model = golden.classifier()
    model.load_weights(tmp_path / "model.weights.h5")
    np.testing.assert_array_equal(model(images), golden_classifier(images))


@pytest.mark.slow
def test_keras_file_round_trip_keeps_mixed_precision(images, tmp_path):
    model = golden.classifier(dtype="mixed_bfloat16")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(images), model(images))
