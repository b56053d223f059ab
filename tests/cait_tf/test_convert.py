"""Conversion from any source to any format and back, bit for bit."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from cait_tf import (
    CaiTError,
    WeightsError,
    convert,
    create_model,
    load_weights,
    save_weights,
)
from cait_tf.weights import collection, keras_file, timm
from cait_tf.weights.load import read_weights
from tests.cait_tf import golden

# "model_v1.2" is a directory: a version is no ending.
SAVED_MODEL = "model_v1.2"
FORMATS = ["a.safetensors", "a.weights.h5", "a.keras", SAVED_MODEL]
PTH = pytest.param("a.pth", marks=pytest.mark.needs("torch"))
READERS = dict(
    zip(FORMATS, (timm.read, keras_file.read, keras_file.read, collection.read), strict=True)
)


def small(**changes):
    """Return a classifier for three classes with one block per stage."""
    geometry = {"image_size": 32, "embed_dim": 16, "depth": 1, "depth_token_only": 1}
    return golden.classifier(**geometry | {"num_classes": 3, **changes})


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """Return a function that converts timm's golden file to a format once; it returns the path."""
    folder = tmp_path_factory.mktemp("converted")

    @functools.cache
    def to(name):
        done = convert.convert(golden.SAFETENSORS, folder / name)
        assert (done.tensors, done.format) == (98, "timm safetensors")
        assert done.model == "a CaiT of depth 3, width 96, image 64x64"
        assert done.difference < 1e-5
        return folder / name

    return to


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_timms_file_to_every_format_and_back(name, converted, tmp_path):
    path = converted(name)
    golden.assert_same(READERS[name](path), timm.read(golden.SAFETENSORS))
    convert.convert(path, tmp_path / "back.safetensors")
    original = load_file(golden.SAFETENSORS)
    golden.assert_same(load_file(tmp_path / "back.safetensors"), original)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "second"),
    [("a.weights.h5", "a.keras"), ("a.keras", SAVED_MODEL), (SAVED_MODEL, "a.weights.h5")],
)
def test_every_other_format_converts_to_every_other_format(first, second, converted, tmp_path):
    """Each format is a source and a destination. Reading and writing share only the tensors."""
    convert.convert(converted(first), tmp_path / second)
    golden.assert_same(READERS[second](tmp_path / second), timm.read(golden.SAFETENSORS))


@pytest.mark.slow
def test_a_folder_name_with_a_version_is_a_saved_model(converted):
    assert (converted(SAVED_MODEL) / "saved_model.pb").is_file()


@pytest.fixture(scope="module")
def named(tmp_path_factory):
    """Return a function that converts a file with three named classes to a format once."""
    folder = tmp_path_factory.mktemp("named")
    source = folder / "named.safetensors"
    save_weights(small(), source, {"classes": "Zebra\nmünchen, 1\nant"})

    @functools.cache
    def to(name):
        convert.convert(source, folder / name)
        return folder / name

    return to


@pytest.mark.slow
@pytest.mark.parametrize("name", [*FORMATS, PTH])
def test_the_classes_are_named_in_every_format(name, named, tmp_path):
    path = named(name)
    assert read_weights(path).class_names == ("Zebra", "münchen, 1", "ant")
    report = load_weights(small(num_classes=2), path, class_names=["ant", "cow"])
    assert report.classes.kept == ["ant"]
    convert.convert(path, tmp_path / "no_head.safetensors", feature_extractor=True)
    assert read_weights(tmp_path / "no_head.safetensors").class_names is None


@pytest.mark.slow
def test_conversion_keeps_the_run_and_classes_of_a_file(tmp_path):
    model = create_model("cait_nano_32", num_classes=2)
    save_weights(model, tmp_path / "a.safetensors", {"classes": "ant\nbee", "run": "some run"})
    convert.convert(tmp_path / "a.safetensors", tmp_path / "a.keras")
    convert.convert(tmp_path / "a.keras", tmp_path / "a.weights.h5")
    assert keras_file.stated(tmp_path / "a.keras")["run"] == "some run"
    convert.convert(tmp_path / "a.weights.h5", tmp_path / "model")
    assert collection.stated(tmp_path / "model") == {"run": "some run"}
    convert.convert(tmp_path / "model", tmp_path / "b.safetensors")
    for name in ("a", "b"):
        with safe_open(tmp_path / f"{name}.safetensors", "np") as file:
            assert file.metadata()["run"] == "some run"
            assert file.metadata()["classes"] == "ant\nbee"


@pytest.mark.slow
def test_variables_of_another_model_are_refused(tmp_path):
    for name in ("a", "b"):
        keras.utils.set_random_seed(ord(name))
        save_weights(small(), tmp_path / f"{name}.safetensors", {"classes": "ant\nbee\ncow"})
        convert.convert(tmp_path / f"{name}.safetensors", tmp_path / name)
    shutil.copytree(tmp_path / "b" / "variables", tmp_path / "a" / "variables", dirs_exist_ok=True)
    with pytest.raises(WeightsError, match="with variables of another model than its"):
        load_weights(small(), tmp_path / "a")
    with pytest.raises(WeightsError, match="with variables of another model than its"):
        convert.convert(tmp_path / "a", tmp_path / "c.safetensors")


@pytest.mark.slow
def test_keras_itself_reads_a_file_that_names_classes(named):
    whole = keras.models.load_model(named("a.keras"))
    other = small()
    other.load_weights(named("a.weights.h5"))
    for one, two in zip(whole.weights, other.weights, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.needs("torch")
def test_official_checkpoints_convert_in_both_directions(tmp_path):
    convert.convert(golden.PTH, tmp_path / "a.safetensors")
    golden.assert_same(load_file(tmp_path / "a.safetensors"), load_file(golden.SAFETENSORS))
    done = convert.convert(tmp_path / "a.safetensors", tmp_path / "b.pth")
    assert done.difference == 0
    from cait_tf.weights import official

    golden.assert_same(official.read(tmp_path / "b.pth"), official.read(golden.PTH))
    assert official.stated(tmp_path / "b.pth") == official.stated(golden.PTH) == {}
    model = create_model("cait_nano_32", num_classes=2)
    save_weights(model, tmp_path / "c.safetensors", {"classes": "ant\nbee", "run": "some run"})
    convert.convert(tmp_path / "c.safetensors", tmp_path / "c.pth")
    assert official.stated(tmp_path / "c.pth") == {"run": "some run"}
    assert official.class_names(tmp_path / "c.pth") == ("ant", "bee")


@pytest.mark.slow
def test_the_collections_model_to_timm(tmp_path):
    source = golden.COLLECTION / "cait_tiny_64"
    convert.convert(source, tmp_path / "a.safetensors")
    golden.assert_same(timm.read(tmp_path / "a.safetensors"), collection.read(source))


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_feature_extractor_omits_the_head(name, tmp_path):
    save_weights(small(), tmp_path / "source.safetensors")
    done = convert.convert(tmp_path / "source.safetensors", tmp_path / name, feature_extractor=True)
    wanted = timm.read(tmp_path / "source.safetensors")
    assert done.tensors == len(wanted) - 2
    del wanted["head.weight"], wanted["head.bias"]
    golden.assert_same(READERS[name](tmp_path / name), wanted)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "name"),
    [((32, 96), FORMATS[0]), *(((32, 128), name) for name in FORMATS),
     pytest.param((32, 128), "a.pth", marks=pytest.mark.needs("torch"))],
)  # fmt: skip
def test_a_grid_that_is_no_square(size, name, tmp_path):
    """12 patches are not a square number. 2x8 patches must not be read as 4x4."""
    save_weights(small(image_size=list(size)), tmp_path / "source.safetensors")
    done = convert.convert(tmp_path / "source.safetensors", tmp_path / name)
    back = convert.convert(tmp_path / name, tmp_path / "back.safetensors")
    assert done.model.endswith(f"image {size[0]}x{size[1]}")
    assert back.model == done.model
    golden.assert_same(
        timm.read(tmp_path / "back.safetensors"),
        timm.read(tmp_path / "source.safetensors"),
    )
    assert timm.grid(tmp_path / "back.safetensors") == (size[0] // 16, size[1] // 16)


def test_a_square_number_of_patches_without_a_stated_grid_is_a_square():
    assert collection.grid(golden.COLLECTION / "cait_tiny_64") in (None, (4, 4))
    assert timm.grid(golden.SAFETENSORS) is None


def test_an_interrupted_conversion_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(model, destination, stated):
        destination.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(convert, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert.convert(golden.SAFETENSORS, tmp_path / "a.keras")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_variant_is_recognised(tmp_path):
    from cait_tf import create_model

    save_weights(create_model("cait_nano_32", num_classes=10), tmp_path / "source.safetensors")
    done = convert.convert(tmp_path / "source.safetensors", tmp_path / "a.keras")
    assert done.model == "cait_nano_32"


@pytest.mark.slow
def test_half_precision_is_widened(tmp_path):
    halves = {
        name: array.astype("float16") for name, array in load_file(golden.SAFETENSORS).items()
    }
    save_file(halves, tmp_path / "half.safetensors")
    convert.convert(tmp_path / "half.safetensors", tmp_path / "a.keras")
    got = keras_file.read(tmp_path / "a.keras")["norm.weight"]
    np.testing.assert_array_equal(got, halves["norm.weight"].astype("float32"))


def test_a_tensor_that_changed_on_the_way_is_noticed(tmp_path, monkeypatch):
    real = convert._write

    def careless(model, destination, stated):
        model.backbone.norm.gamma.assign(model.backbone.norm.gamma * 2)
        real(model, destination, stated)

    monkeypatch.setattr(convert, "_write", careless)
    with pytest.raises(
        WeightsError, match=r"1 written tensors differ from the source's: norm\.weight"
    ):
        convert.convert(golden.SAFETENSORS, tmp_path / "a.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_an_existing_destination_is_not_overwritten(tmp_path):
    (tmp_path / "a.safetensors").write_bytes(b"mine")
    with pytest.raises(CaiTError, match="which exists; expected a new name"):
        convert.convert(golden.SAFETENSORS, tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == b"mine"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("a.h5", ""), ("a.npz", ""), ("a.pb", ""), ("a.onnx", ""), ("a.tar.gz", ""),
        ("a.safetensor", "did you mean '.safetensors'"), ("a.weights", ""),
    ],
)  # fmt: skip
def test_an_ending_that_is_no_format(name, hint, tmp_path):
    """A typo in the ending must not create a SavedModel directory."""
    with pytest.raises(CaiTError, match=f"expected an ending.*{hint}"):
        convert.convert(golden.SAFETENSORS, tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_cait(tmp_path):
    save_file({"x": np.zeros(3, "float32")}, tmp_path / "other.safetensors")
    message = r"other\.safetensors, whose tensors are not a CaiT's: no patch_embed.* among x "
    with pytest.raises(WeightsError, match=message):
        convert.convert(tmp_path / "other.safetensors", tmp_path / "a.keras")


@pytest.mark.needs("torch")
def test_conversion_and_maps_work_on_the_torch_backend(tmp_path):
    """Convert through a chain of formats, and draw maps from tensors that require gradients."""
    code = """
import sys, numpy as np
from cait_tf import convert, create_model
from cait_tf.attention_maps import attention_rollout, class_saliency_map
from tests.cait_tf.golden import SAFETENSORS
names = [SAFETENSORS, *(f"{sys.argv[1]}/x{end}" for end in (".safetensors", ".pth", ".weights.h5", ".keras"))]
for one, other in zip(names, names[1:]):
    assert convert.convert(one, other).difference == 0
model = create_model("cait_nano_32", num_classes=3, weights="none")
_, attention = model(np.zeros((1, 32, 32, 3), "float32"), return_attention=True)
for maps in (class_saliency_map, attention_rollout):
    assert maps(attention, model.backbone.grid_size).shape == (1, *model.backbone.grid_size)
"""
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=300,
        env={**os.environ, "KERAS_BACKEND": "torch", "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
