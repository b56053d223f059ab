"""A regressor: numbers in the targets' units, its files, and files of another task."""

import keras
import numpy as np
import pytest

import cait_tf
from cait_tf.backbone import POOLINGS
from cait_tf.convert import convert
from cait_tf.heads import OPTIONS
from cait_tf.weights.assign import assign_weights, parameters
from tests.cait_finetune.tiny import tiny_model

NAMES = ["age", "width", "mass"]
IMAGE = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype("float32")
MEAN, STD = np.array([40.0, -3.0, 0.5]), np.array([10.0, 0.2, 1.5])
SMALL = {"image_size": 32, "patch_size": 16, "embed_dim": 48, "depth": 1, "depth_token_only": 1,
         "num_heads": 2}  # fmt: skip


def regressor(names=NAMES, seed=0, adapted=True, head="linear", **options):
    keras.utils.set_random_seed(seed)
    model = cait_tf.CaiTRegressor(len(names), names, head, **SMALL, **options)
    if adapted:
        order = [NAMES.index(name) if name in NAMES else 0 for name in names]
        model.target_scale.set(MEAN[order], STD[order])
    return model


def classifier(seed=0, names=NAMES, **options):
    return tiny_model(len(names), seed, class_names=names, depth=1, depth_token_only=1, **options)


def write(model, path):
    if path.suffix == ".safetensors":
        cait_tf.save_weights(model, path)
    else:
        model.save(path) if path.suffix == ".keras" else model.save_weights(path)
    return path


FILES = ("a.safetensors", "a.weights.h5", "a.keras")


@pytest.mark.parametrize("head", OPTIONS)
@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_numbers_are_the_heads_outputs_in_the_targets_units(head, dtype):
    model = regressor(head=head, dtype=dtype)
    numbers = np.array(model(IMAGE))
    assert numbers.shape == (2, 3)
    assert numbers.dtype == "float32"
    outputs = np.array(model.head(model.backbone(IMAGE)))
    np.testing.assert_allclose(numbers, outputs * STD + MEAN, rtol=1e-5, atol=1e-5)
    with_maps, maps = model(IMAGE, return_attention=True)
    np.testing.assert_allclose(with_maps, numbers, rtol=1e-2 if dtype != "float32" else 1e-5)
    assert len(maps) == 2


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_pooling_survives_a_file(pooling, tmp_path):
    model = regressor(pooling=pooling)
    path = write(model, tmp_path / "a.safetensors")
    again = regressor(seed=1, adapted=False, pooling=pooling)
    assert cait_tf.load_weights(again, path).initialised == ()
    np.testing.assert_allclose(again(IMAGE), model(IMAGE), rtol=1e-6)
    backbone = cait_tf.CaiTBackbone(**SMALL, pooling=pooling)
    report = cait_tf.load_weights(backbone, path)
    assert report.initialised == ()
    assert {"target_scale.mean", "target_scale.std"} <= set(report.unused)


def test_its_config_restores_it_and_its_variables_follow_the_head():
    model = regressor(head="mlp", head_options={"hidden": 5})
    again = cait_tf.CaiTRegressor.from_config(model.get_config())
    assert again.get_config() == model.get_config()
    assert "num_classes" not in model.get_config()
    names = list(parameters(model))
    assert names[-2:] == ["target_scale.mean", "target_scale.std"]
    assert all("target_scale" not in one.path for one in model.trainable_weights)


def test_adapt_names_the_target_that_it_refuses():
    model = regressor()
    with pytest.raises(cait_tf.CaiTError, match="for target width"):
        model.adapt([[1, 1, 1], [2, 1, 2]])
    model.adapt([[1, 1, 1], [3, 3, 5]])
    np.testing.assert_array_equal(model.target_scale.std, [1, 1, 2])


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("head", OPTIONS)
def test_columns_and_statistics_are_matched_by_name(head, file, tmp_path):
    model = regressor(head=head)
    path = write(model, tmp_path / file)
    other = regressor(NAMES[::-1], seed=1, adapted=False, head=head)
    report = cait_tf.load_weights(other, path)
    assert report.initialised == ()
    np.testing.assert_allclose(np.array(other(IMAGE))[:, ::-1], model(IMAGE), rtol=1e-5)
    np.testing.assert_allclose(other.target_scale.mean, MEAN[::-1], rtol=1e-6)
    some = regressor(["mass", "new"], seed=1, adapted=False, head=head)
    cait_tf.load_weights(some, path)
    np.testing.assert_allclose(np.array(some(IMAGE))[:, 0], np.array(model(IMAGE))[:, 2], rtol=1e-5)
    np.testing.assert_allclose(some.target_scale.std, [1.5, 1.0])


def test_keras_restores_a_whole_model(tmp_path):
    model = regressor()
    again = keras.saving.load_model(write(model, tmp_path / "a.keras"))
    assert isinstance(again, cait_tf.CaiTRegressor)
    assert again.target_names == tuple(NAMES)
    np.testing.assert_allclose(again(IMAGE), model(IMAGE), rtol=1e-6)


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("into", ["regressor", "classifier"])
def test_a_head_of_the_other_task_is_new(into, file, tmp_path):
    makers = {"regressor": regressor, "classifier": classifier}
    source = makers["classifier" if into == "regressor" else "regressor"](seed=0)
    path = write(source, tmp_path / file)
    model = makers[into](seed=1)
    before = [np.array(one) for one in model.weights]
    if file != "a.safetensors":
        with pytest.raises(cait_tf.WeightsError, match=f"expected the file of a {into}"):
            model.load_weights(path)
        with pytest.raises(cait_tf.WeightsError, match=f"expected the file of a {into}"):
            model.load_weights(path, skip_mismatch=True)
        assert all(map(np.array_equal, before, model.weights))
    report = cait_tf.load_weights(model, path)
    heads = {name for name in parameters(model) if name.startswith(("head.", "target_scale."))}
    assert set(report.initialised) == heads
    assert report.classes is None
    other = "classifier" if into == "regressor" else "regressor"
    assert f"the source has head=linear of a {other}" in " ".join(report.notes)
    kept = dict(zip(parameters(model), before, strict=True))
    assert all(np.array_equal(kept[name], parameters(model)[name]) for name in heads)
    np.testing.assert_array_equal(model.backbone.cls_token, source.backbone.cls_token)


@pytest.mark.parametrize("change", ["no mean", "no std", "zero", "nan", "short"])
def test_damaged_statistics_are_refused(change):
    tensors = {name: np.array(one) for name, one in parameters(regressor()).items()}
    match change:
        case "no mean" | "no std":
            del tensors[f"target_scale.{change[3:]}"]
            message = f"missing in the source: target_scale.{change[3:]}"
        case "short":
            tensors["target_scale.std"] = tensors["target_scale.std"][:2]
            message = r"target_scale.std \(2,\), the model has \(3,\)"
        case _:
            tensors["target_scale.std"][1] = {"zero": 0.0, "nan": np.nan}[change]
            message = "expected numbers above 0" if change == "zero" else "NaN or infinity"
    with pytest.raises(cait_tf.WeightsError, match=message):
        assign_weights(
            regressor(seed=1),
            tensors,
            "a file",
            "test",
            class_names=NAMES,
            source_names=NAMES,
        )


@pytest.mark.slow
@pytest.mark.parametrize("head", OPTIONS)
def test_a_regressor_is_converted(head, tmp_path):
    model = regressor(head=head)
    path = write(model, tmp_path / "a.safetensors")
    convert(path, tmp_path / "b.keras")
    again = keras.saving.load_model(tmp_path / "b.keras")
    assert isinstance(again, cait_tf.CaiTRegressor)
    assert (again.head_kind, again.target_names) == (head, tuple(NAMES))
    np.testing.assert_allclose(again(IMAGE), model(IMAGE), rtol=1e-5)


@pytest.mark.slow
def test_a_saved_model_of_the_collection_is_no_regressor(tmp_path):
    path = write(regressor(), tmp_path / "a.safetensors")
    with pytest.raises(cait_tf.CaiTError, match="model: got a regressor, expected a classifier or"):
        convert(path, tmp_path / "b")
    convert(path, tmp_path / "b", feature_extractor=True)


def test_create_model_takes_targets():
    model = cait_tf.create_model("cait_nano_32", num_targets=2, class_names=["a", "b"])
    assert isinstance(model, cait_tf.CaiTRegressor)
    assert model.target_names == ("a", "b")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0,), "num_targets: got 0, expected a whole number of at least 1"),
        ((2, ["a"]), "target_names: got 1 names, expected 2"),
    ],
)
def test_wrong_arguments_are_refused(arguments, message):
    with pytest.raises(cait_tf.CaiTError, match=message):
        cait_tf.CaiTRegressor(*arguments, **SMALL)
