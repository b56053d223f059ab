import h5py
import keras
import numpy as np
import pytest

from cait_tf import ImageClassifier, WeightsError, load_weights
from cait_tf.weights import keras_file
from tests.cait_tf import golden

FILES = ["model.keras", "model.weights.h5"]


def save(model, path):
    (model.save if path.suffix == ".keras" else model.save_weights)(path)


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize(
    "create",
    [
        golden.classifier,
        golden.backbone,
        # With twelve blocks the file order is 0, 1, 10, 11, 2.
        lambda: golden.backbone(depth=12),
        # Dropout rates add random states to the file, which are not weights.
        lambda: golden.classifier(drop_rate=0.1, attn_drop_rate=0.1, drop_path_rate=0.1),
        lambda: golden.classifier(dtype="mixed_bfloat16"),
    ],
    ids=["classifier", "backbone", "deep", "dropout", "mixed precision"],
)
def test_every_parameter_is_read_under_its_name(create, file, tmp_path):
    model = create()
    rng = np.random.default_rng(0)
    for variable in golden.parameters(model).values():
        variable.assign(rng.normal(size=variable.shape))
    save(model, tmp_path / file)
    golden.assert_same(keras_file.read(tmp_path / file), golden.values(model))


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
def test_a_trained_models_file_loads_without_its_optimizer(file, images, tmp_path):
    trained, model = golden.classifier(), golden.classifier()
    trained.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    trained.optimizer.build(trained.trainable_variables)  # as the first step of `fit` does
    save(trained, tmp_path / file)
    load_weights(model, tmp_path / file)
    np.testing.assert_array_equal(model(images), trained(images))


def test_a_backbones_file_gives_a_classifier_all_but_its_head(golden_classifier, images, tmp_path):
    save(golden_classifier.backbone, tmp_path / "model.keras")
    model = golden.classifier()
    report = load_weights(model, tmp_path / "model.keras")
    assert report.initialised == ("head.weight", "head.bias")
    np.testing.assert_array_equal(model.backbone(images), golden_classifier.backbone(images))


@pytest.mark.parametrize("file", FILES)
def test_another_models_file_lists_what_has_no_place(file, tmp_path):
    other = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    save(other, tmp_path / file)
    with pytest.raises(WeightsError, match="are unknown: layers/dense/vars/0"):
        keras_file.read(tmp_path / file)


@pytest.mark.parametrize("key", ["norm/vars/2", "vars/2", "blocks/conv/kernel"])
def test_a_strange_variable_is_listed(key, tmp_path):
    with h5py.File(tmp_path / "model.weights.h5", "w") as file:
        file[key] = np.ones(3)
    with pytest.raises(WeightsError, match=f"are unknown: {key}"):
        keras_file.read(tmp_path / "model.weights.h5")


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("kept", [0, 3, 100_000], ids=lambda kept: f"{kept} bytes")
def test_a_truncated_file_is_refused(kept, file, golden_classifier, tmp_path):
    path = tmp_path / file
    save(golden_classifier, path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(WeightsError, match="expected a file that Keras saved"):
        keras_file.read(path)


@pytest.mark.slow
@pytest.mark.parametrize("create", [golden.classifier, golden.backbone])
def test_keras_own_loading_does_not_take_one_grid_for_another(create, tmp_path):
    """2x8 and 4x4 grids both have 16 patches: the shapes match, but the positions do not."""
    create(image_size=[32, 128]).save_weights(tmp_path / "wide.weights.h5")
    assert keras_file.grid(tmp_path / "wide.weights.h5") == (2, 8)
    with pytest.raises(ValueError, match="objects could not be loaded"):
        create(image_size=64).load_weights(tmp_path / "wide.weights.h5")
    create(image_size=[32, 128]).load_weights(tmp_path / "wide.weights.h5")


@pytest.mark.parametrize("file", FILES)
def test_an_exported_image_classifier_is_a_source(file, tmp_path):
    inside = golden.classifier(image_size=64)
    exported = ImageClassifier(inside, list("abcdefg"), 1.0, "bicubic", (0.5,) * 3, (0.5,) * 3)
    save(exported, tmp_path / file)
    loaded = golden.classifier()
    notes = ("the head's columns are a, b, c, d, e, … (7 in all)",)
    assert load_weights(loaded, tmp_path / file).notes == notes
    assert loaded.class_names == tuple("abcdefg")
    golden.assert_same(golden.values(loaded), golden.values(inside))
    assert keras_file.grid(tmp_path / file) == (4, 4)


def test_an_older_file_has_its_grid_in_the_configuration(tmp_path, monkeypatch):
    monkeypatch.setattr(keras_file, "_GRIDS", ())
    golden.backbone(image_size=[32, 128]).save(tmp_path / "wide.keras")
    assert keras_file.grid(tmp_path / "wide.keras") == (2, 8)
