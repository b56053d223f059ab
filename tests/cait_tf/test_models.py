import json

import keras
import numpy as np
import pytest

from cait_tf import (
    CaiTBackbone,
    CaiTClassifier,
    CaiTError,
    WeightsError,
    create_model,
    load_weights,
    save_weights,
)
from cait_tf.models import locate_weights
from cait_tf.variants import get_variant
from cait_tf.weights import official
from tests.cait_tf import golden


def nano(**kwargs):
    return create_model("cait_nano_32", **{"num_classes": 10, **kwargs})


def test_a_classifier_has_the_variants_geometry():
    model, row = nano(), get_variant("cait_nano_32")
    assert isinstance(model, CaiTClassifier)
    assert model.num_classes == 10
    assert model.name == row.name
    config = model.get_config()
    for key in ("patch_size", "embed_dim", "depth", "depth_token_only", "num_heads", "mlp_ratio"):
        assert config[key] == getattr(row, key)
    assert config["image_size"] == [32, 32]


def saved(path, names, **facts):
    save_weights(nano(num_classes=len(names)), path, {"classes": "\n".join(names), **facts})
    return path


def test_columns_stay_those_of_the_given_names(tmp_path):
    model = nano(num_classes=3, class_names=["ant", "bee", "cow"])
    other = saved(tmp_path / "a.safetensors", ["cow", "bee", "ant"])
    assert load_weights(model, other).notes == ("head columns reordered by class name",)
    head = keras.ops.convert_to_numpy(model.head.kernel)
    unnamed = nano(num_classes=3, weights=other)
    assert unnamed.class_names == ("cow", "bee", "ant")
    assert unnamed.loading_report.notes == ("the head's columns are cow, bee, ant",)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(unnamed.head.kernel)[:, ::-1], head)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["a.safetensors", "a.keras", "a.weights.h5"])
def test_a_file_of_a_named_model_is_the_same_model(name, tmp_path, caplog):
    names = ["cow", "ant", "bee"]
    model = nano(num_classes=3, class_names=names)
    path = tmp_path / name
    if name.endswith(".safetensors"):
        save_weights(model, path)
    else:
        model.save(path) if name.endswith(".keras") else model.save_weights(path)
    head = keras.ops.convert_to_numpy(model.head.kernel)
    other = nano(num_classes=3, class_names=names)
    report = load_weights(other, path)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(other.head.kernel), head)
    assert report.notes == ()
    again = nano(num_classes=3, class_names=names[::-1], weights=path)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(again.head.kernel)[:, ::-1], head)
    assert not caplog.messages


@pytest.mark.slow
@pytest.mark.parametrize("load", [load_weights, None], ids=["load_weights", "create_model"])
def test_columns_that_keep_their_values_are_warned_of(load, tmp_path, caplog):
    def into(names, file):
        if load is None:
            return nano(num_classes=len(names), class_names=names, weights=file)
        model = nano(num_classes=len(names), class_names=names)
        load(model, file)
        return model

    save_weights(nano(num_classes=3), tmp_path / "unnamed.safetensors")
    into(["ant", "bee", "cow"], tmp_path / "unnamed.safetensors")
    into(["a", "b"], tmp_path / "unnamed.safetensors")  # 3 columns are not 2: plainly a new head
    file = saved(tmp_path / "named.safetensors", ["cow", "bee", "ant"])
    into(["ant", "bee", "zebra", "yak"], file)
    into(["xerus", "yak", "zebra"], file)
    into(["cow", "ant"], file)
    said = [str(one).partition(".safetensors ")[2] for one in caplog.messages]
    assert said == [
        "names no classes, so the head keeps its values: name the columns with source_names=[…]",
        "has no unique column for zebra, yak: these columns of the model keep their values",
        "has no unique column for xerus, yak, zebra: these columns of the model keep their values",
    ]


@pytest.mark.slow
def test_kerass_own_loading_checks_the_columns(tmp_path):
    path, unnamed = tmp_path / "a.weights.h5", tmp_path / "b.weights.h5"
    model = nano(num_classes=3, class_names=["cow", "ant", "bee"])
    model.save_weights(path)
    nano(num_classes=3).save_weights(unnamed)
    nano(num_classes=3, class_names=["cow", "ant", "bee"]).load_weights(path)
    unnamed_model = nano(num_classes=3)
    unnamed_model.load_weights(path)
    assert unnamed_model.class_names == ("cow", "ant", "bee")
    other = nano(num_classes=3, class_names=["ant", "bee", "cow"])
    before = golden.values(other)
    with pytest.raises(WeightsError, match="a file of other columns: cow, ant, bee; expected ant"):
        other.load_weights(path)
    with pytest.raises(WeightsError, match="a file that names no classes, expected those of the"):
        other.load_weights(unnamed)
    golden.assert_same(golden.values(other), before)
    # Inside another model, Keras collects the errors of all layers in a ValueError.
    whole = keras.Sequential([keras.Input((32, 32, 3)), model])
    whole.save_weights(tmp_path / "c.weights.h5")
    with pytest.raises(ValueError, match="a file of other columns: cow, ant, bee; expected ant"):
        keras.Sequential([keras.Input((32, 32, 3)), other]).load_weights(tmp_path / "c.weights.h5")
    with pytest.warns(UserWarning, match="a file of other columns: cow, ant, bee; expected ant"):
        other.load_weights(path, skip_mismatch=True)
    np.testing.assert_array_equal(golden.values(other)["head.weight"], before["head.weight"])
    with pytest.raises(WeightsError, match="other columns: gone: cow; new: yak"):
        nano(num_classes=3, class_names=["yak", "ant", "bee"]).load_weights(path)


def test_a_head_of_images_of_another_size_is_warned_of(tmp_path, caplog):
    file = tmp_path / "a.safetensors"
    save_weights(nano(num_classes=3, image_size=64), file)
    nano(num_classes=3, image_size=64, weights=file)
    nano(num_classes=0, weights=file)  # features: the size of the images is the user's choice
    assert not caplog.messages
    nano(num_classes=3, weights=file)
    assert "of another size: pos_embed resampled from 16x16 to 8x8 patches" in caplog.messages[0]


def test_a_head_of_other_columns_that_is_not_loaded_is_warned_of(tmp_path, caplog):
    file = saved(tmp_path / "a.safetensors", ["a", "b", "c"])
    nano(num_classes=5, weights=file)  # a new head was asked for
    assert not caplog.messages
    load_weights(nano(num_classes=5), file)
    assert "another number of classes: the model's head keeps its values" in caplog.messages[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["b.safetensors", "b.keras", "b.weights.h5"])
def test_a_file_of_loaded_weights_keeps_their_preparation(name, tmp_path, caplog):
    file = saved(tmp_path / "a.safetensors", ["a", "b"], preprocessing='{"resize_mode": "squash"}')
    model = nano(num_classes=2, weights=file)

    def write(path):
        if path.name.endswith(".safetensors"):
            save_weights(model, path)
        else:
            model.save(path) if path.name.endswith(".keras") else model.save_weights(path)
        return path

    def said():
        messages = list(caplog.messages)
        caplog.clear()
        return ["resize_mode squash" in one for one in messages]

    assert said() == [True]
    load_weights(nano(num_classes=2), write(tmp_path / name))
    assert said() == [True]
    model.head.bias.assign(model.head.bias + 1)  # a head on the same features
    load_weights(nano(num_classes=2), write(tmp_path / f"head_{name}"))
    assert said() == [True]
    if not name.endswith(".safetensors"):
        again = nano(num_classes=2)
        again.load_weights(tmp_path / f"head_{name}")  # Keras' own loading says and keeps it too
        assert said() == [True]
        save_weights(again, tmp_path / "again.safetensors")
        load_weights(nano(num_classes=2), tmp_path / "again.safetensors")
        assert said() == [True]
    norm = model.backbone.norm.gamma
    norm.assign(norm * 2)  # trained further, maybe on other images
    load_weights(nano(num_classes=2), write(tmp_path / f"trained_{name}"))
    assert said() == []


def test_weights_of_another_preparation_than_those_before_are_warned_of(tmp_path, caplog):
    one = saved(tmp_path / "a.safetensors", ["a", "b"], preprocessing='{"resize_mode": "squash"}')
    other = saved(tmp_path / "b.safetensors", ["a", "b"], preprocessing='{"resize_mode": "pad"}')
    model = nano(num_classes=2, weights=one)
    load_weights(model, one)
    assert not [said for said in caplog.messages if "unlike" in said]
    load_weights(model, other)
    assert (
        "prepared with resize_mode pad, unlike the images of the model's earlier weights"
        in caplog.text
    )


def test_a_safetensors_file_is_called_one(tmp_path):
    with pytest.raises(WeightsError, match=r"expected a name that ends in \.safetensors\n  For"):
        save_weights(nano(), tmp_path / "a.weights.h5")
    assert not list(tmp_path.iterdir())


def test_the_names_of_the_columns_are_counted():
    with pytest.raises(
        CaiTError, match="class_names: got 2 names, expected 3, one for each column"
    ):
        nano(num_classes=3, class_names=["a", "b"])


@pytest.mark.slow
def test_another_preparation_of_the_images_is_warned_of(tmp_path, caplog):
    own = {"resize_mode": "shorter_side", "crop_pct": 1.0, "antialias": True}
    file = saved(tmp_path / "a.safetensors", ["a", "b"], preprocessing=json.dumps(own))
    nano(num_classes=2, weights=file)
    assert not caplog.messages
    for other in ("none", "[1]"):
        file = saved(tmp_path / "c.safetensors", ["a", "b"], preprocessing=other)
        nano(num_classes=2, weights=file)
    assert not caplog.messages
    file = saved(tmp_path / "b.safetensors", ["a", "b"], preprocessing='{"resize_mode": "squash"}')
    nano(num_classes=2, weights=file)
    (message,) = caplog.messages
    assert "b.safetensors was trained on images prepared with resize_mode squash" in message


def test_no_classes_give_a_feature_extractor():
    model = nano(num_classes=0)
    assert isinstance(model, CaiTBackbone)
    assert model.built


def test_drop_path_is_off_unless_asked_for():
    assert nano().backbone.drop_path_rate == 0
    assert nano(drop_path_rate=0.1).backbone.drop_path_rate == 0.1


@pytest.mark.parametrize(("size", "shape"), [(64, (64, 64)), ([32, 48], (32, 48))])
def test_another_image_size(size, shape):
    assert nano(image_size=size).backbone.image_size == shape


def test_other_arguments_reach_the_backbone():
    model = nano(dtype="mixed_bfloat16", drop_rate=0.1)
    assert model.backbone.drop_rate == 0.1
    assert model.backbone.dtype_policy == keras.DTypePolicy("mixed_bfloat16")


@pytest.mark.parametrize("weights", [None, "none"])
def test_without_weights_there_is_no_report(weights):
    assert nano(weights=weights).loading_report is None


def test_weights_from_a_file_come_with_a_report(tmp_path):
    saved = nano()
    save_weights(saved, tmp_path / "nano.safetensors")
    model = nano(weights=tmp_path / "nano.safetensors")
    assert len(model.loading_report.loaded) == len(model.weights)
    assert (golden.values(model)["norm.weight"] == golden.values(saved)["norm.weight"]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "cait_nano"}, "model: got 'cait_nano'.*did you mean 'cait_nano_32'"),
        ({"image_size": 30}, "image_size: got 30x30, expected multiples of the patch size 4"),
        ({"image_size": 0}, "image_size: got"),
        ({"drop_path_rate": 1.5}, "drop_path_rate: got 1.5"),
        ({"num_classes": -1}, "num_classes: got -1"),
    ],
    ids=str,
)
def test_a_bad_request_is_refused(arguments, message):
    with pytest.raises(CaiTError, match=message):
        create_model(**{"name": "cait_nano_32", "num_classes": 10, **arguments})


def test_hub_is_timms_repository():
    assert locate_weights(get_variant("cait_s24_224"), "hub") == "timm/cait_s24_224.fb_dist_in1k"


def test_pretrained_is_what_comes_with_the_package_or_the_hubs():
    path = locate_weights(get_variant("cait_nano_32"), "pretrained")
    assert path.is_file()
    assert locate_weights(get_variant("cait_s24_224"), "pretrained").startswith("timm/cait_s24_224")


def test_official_is_the_authors_file(monkeypatch):
    monkeypatch.setattr(official, "download", lambda url: f"downloaded {url}")
    got = locate_weights(get_variant("cait_s24_224"), "official")
    assert got == "downloaded https://dl.fbaipublicfiles.com/deit/S24_224.pth"


@pytest.mark.parametrize("weights", ["hub", "official"])
def test_nano_has_no_published_weights(weights):
    with pytest.raises(
        WeightsError, match=f"got '{weights}', but cait_nano_32 has no published weights"
    ):
        nano(weights=weights)


def test_a_models_name_is_not_weights():
    with pytest.raises(WeightsError, match="got 'cait_nano_32', the name of a model"):
        nano(weights="cait_nano_32")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": "10"}, "num_classes: got '10', expected a whole number"),
        ({"num_classes": 2.5}, "num_classes: got 2.5, expected a whole number"),
        ({"mlp_ratio": "4"}, "mlp_ratio: got '4', expected a number above 0"),
        ({"mlp_ratio": 0}, "mlp_ratio: got 0, expected a number above 0"),
    ],
)
def test_a_value_of_the_wrong_type_raises_an_error(arguments, message):
    with pytest.raises(CaiTError, match=message):
        create_model("cait_nano_32", **arguments)
