"""The collection's contract, as a client of the original models relies on it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import shutil
import tarfile
from concurrent.futures import Future

import keras
import numpy as np
import pytest
import tensorflow as tf

from cait_tf import VARIANTS, CaiTError, collection, load_weights, save_weights
from cait_tf.weights import collection as variables
from tests.cait_tf import golden

OUTPUTS = (
    ["output_1"]
    + [f"output_2_{name}" for name in golden.TRUNK_MAPS]
    + [f"output_3_{name}" for name in golden.CLASS_MAPS]
)


@pytest.fixture(scope="module", params=["classifier", "feature extractor"])
def written(request, tmp_path_factory):
    """A golden model, the directory of its SavedModel, and the SavedModel as TensorFlow loads it."""
    model = golden.classifier() if request.param == "classifier" else golden.backbone()
    load_weights(model, golden.SAFETENSORS)
    directory = tmp_path_factory.mktemp("collection") / "model"
    collection.write_saved_model(model, directory)
    return model, directory, tf.saved_model.load(str(directory))


def wanted(model, images):
    output, maps = model(images, return_attention=True)
    values = {"output_1": output}
    for name, tensor in maps.items():
        values[f"output_{2 if name.startswith('sa') else 3}_{name}"] = tensor
    return values


def test_the_collection_has_twenty_entries():
    names = [entry.name for entry in collection.ENTRIES]
    assert len(names) == len(set(names)) == 20
    assert {name.removesuffix("_fe") for name in names} == {
        name for name, variant in VARIANTS.items() if variant.published
    }


@pytest.mark.slow
def test_the_signature_is_the_originals(written, images):
    model, _, loaded = written
    served = loaded.signatures["serving_default"]
    (_, inputs) = served.structured_input_signature
    assert {name: spec.shape.as_list() for name, spec in inputs.items()} == {
        "input_1": [None, 64, 64, 3]
    }
    outputs = served(input_1=tf.constant(images))
    assert sorted(outputs) == sorted(OUTPUTS)
    for name, value in wanted(model, images).items():
        golden.assert_near(outputs[name], np.asarray(value), 1e-5)


def test_the_outputs_equal_the_golden_outputs(written, images):
    model, _, loaded = written
    served = loaded.signatures["serving_default"]
    outputs = served(input_1=tf.constant(images))
    forward = golden.arrays("forward")
    first = "logits" if hasattr(model, "backbone") else "features"
    golden.assert_near(outputs["output_1"], forward[first])
    for name in OUTPUTS[1:]:
        golden.assert_near(outputs[name], forward[name.split("_", 2)[2]])


@pytest.mark.parametrize("training", [False, True])
def test_a_call_returns_output_trunk_maps_and_class_maps(written, images, training):
    model, _, loaded = written
    output, trunk, class_attention = loaded(tf.constant(images), training=training)
    assert sorted(trunk) == golden.TRUNK_MAPS
    assert sorted(class_attention) == golden.CLASS_MAPS
    golden.assert_near(output, np.asarray(wanted(model, images)["output_1"]), 1e-5)


def test_the_saved_model_has_the_attributes_that_hub_layers_read(written):
    model, _, loaded = written
    assert len(loaded.variables) == len(loaded.trainable_variables) == len(model.weights)
    assert list(loaded.regularization_losses) == []


@pytest.mark.slow
def test_tfsmlayer_of_keras_3_loads_the_saved_model(written, images):
    model, directory, _ = written
    layer = keras.layers.TFSMLayer(str(directory), call_endpoint="serving_default")
    golden.assert_near(
        layer(images)["output_1"], np.asarray(wanted(model, images)["output_1"]), 1e-5
    )


def test_the_checkpoint_is_read_like_an_original_checkpoint(written):
    model, directory, _ = written
    golden.assert_same(variables.read(directory), golden.values(model))


@pytest.mark.slow
def test_the_golden_checkpoint_survives_the_way_there_and_back(tmp_path):
    """Our SavedModel has the variables and paths of the original SavedModel."""
    theirs = golden.COLLECTION / "cait_tiny_64"
    model = golden.classifier(**collection_geometry(theirs))
    load_weights(model, theirs)
    collection.write_saved_model(model, tmp_path / "ours")
    golden.assert_same(variables.read(tmp_path / "ours"), variables.read(theirs))


def collection_geometry(path):
    from cait_tf.weights.geometry import geometry

    return geometry(variables.read(path))


def test_only_float32_is_written(tmp_path):
    with pytest.raises(CaiTError, match=r"dtype: got mixed_bfloat16, expected float32"):
        collection.write_saved_model(golden.classifier(dtype="mixed_bfloat16"), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_difference_is_found(written):
    model, directory, _ = written
    assert collection.largest_difference(model, directory) < 1e-5
    other = golden.classifier() if hasattr(model, "backbone") else golden.backbone()
    assert collection.largest_difference(other, directory) > 1e-2


NAMES = ["cait_nano_32", "cait_nano_32_fe"]


@pytest.fixture(scope="module")
def nano_weights(tmp_path_factory):
    from cait_tf import create_model

    folder = tmp_path_factory.mktemp("weights")
    save_weights(create_model("cait_nano_32"), folder / "cait_nano_32.safetensors")
    return str(folder / "{name}.safetensors")


class InThisProcess:
    """An executor that calls its work at once, because a new process imports for seconds."""

    def __init__(self, *_, **__):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def submit(self, function, *arguments):
        future = Future()
        try:
            future.set_result(function(*arguments))
        except CaiTError as error:
            future.set_exception(error)
        return future


@pytest.fixture(scope="module")
def built(nano_weights, tmp_path_factory):
    """A collection of two models, because the full one is too large."""
    out = tmp_path_factory.mktemp("built") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collection, "ProcessPoolExecutor", InThisProcess)
        printed = []
        for _ in range(2):
            with contextlib.redirect_stdout(io.StringIO()) as file:
                collection.build_many(map(collection.entry, NAMES), nano_weights, out)
            printed.append(file.getvalue())
    return out, printed


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_build_is_a_model_a_page_and_an_archive(name, built, nano_weights, tmp_path):
    out, _ = built
    page = (out / name / "README.md").read_text()
    assert page.startswith(f"# {name}\n")
    with tarfile.open(out / f"{name}.tar.gz") as archive:
        archive.extractall(tmp_path / "unpacked")
    model = collection.create(collection.entry(name), nano_weights)
    assert collection.largest_difference(model, tmp_path / "unpacked") < 1e-5


@pytest.mark.slow
def test_build_many_builds_every_model_and_skips_existing_ones(built):
    out, printed = built
    for said, text in zip(("written, largest difference", "exists, skipped"), printed, strict=True):
        assert all(f"{name}: {said}" in text for name in NAMES)
        assert "2/2" in text  # the progress bar
    files = sorted(path.name for path in out.iterdir())
    assert files == sorted([*NAMES, *(f"{name}.tar.gz" for name in NAMES)])


@pytest.mark.slow
def test_a_model_built_from_other_weights_is_built_again(built, nano_weights, tmp_path):
    entry, out = collection.entry("cait_nano_32"), tmp_path / "out"
    assert not collection.is_built(entry, nano_weights, out)
    shutil.copytree(built[0], out)
    assert collection.is_built(entry, nano_weights, out)
    model = collection.create(entry, nano_weights)
    model.head.bias.assign_add(model.head.bias * 0 + 1e-3)
    save_weights(model, tmp_path / "cait_nano_32.safetensors")
    assert not collection.is_built(entry, str(tmp_path / "{name}.safetensors"), out)
    (out / "cait_nano_32.tar.gz").unlink()
    assert not collection.is_built(entry, nano_weights, out)


@pytest.mark.slow
def test_a_failed_build_leaves_nothing(nano_weights, tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "compare", lambda *_: float("nan"))
    with pytest.raises(CaiTError, match="differs by nan, expected at most 1e-04"):
        collection.build(collection.entry("cait_nano_32"), nano_weights, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.slow
def test_the_use_on_the_page_runs(built, tmp_path, monkeypatch):
    from PIL import Image

    (tmp_path / "cait_nano_32").symlink_to(built[0] / "cait_nano_32")
    page = (tmp_path / "cait_nano_32" / "README.md").read_text()
    code = re.search(r"```python\n(.*?)```", page, re.S)[1]
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.zeros((40, 50, 3), "uint8")).save("photo.jpg")
    names = {}
    exec(code, names)
    assert names["probabilities"].shape == (1, 1000)
    assert names["attention"].shape == (1, 2, 1, 65)


def test_accuracies_stand_on_pages_with_their_weights_only():
    from cait_tf import LoadingReport
    from cait_tf.model_page import model_page

    variant = VARIANTS["cait_s24_224"]
    report = LoadingReport("timm/cait_s24_224.fb_dist_in1k", "safetensors", ("head.weight",))
    assert "83.368 / 96.576" in model_page(variant, False, report)
    assert "83.368" not in model_page(variant, False)
    resampled = dataclasses.replace(report, resampled=("pos_embed",))
    assert "83.368" not in model_page(variant, False, resampled)
    assert "features, `(batch, 384)`" in model_page(variant, True, report)


def test_weights_of_other_classes_than_imagenets_are_refused(tmp_path):
    """The page says ImageNet-1k. ImageNet's classes in another order are put in order."""
    from cait_tf import create_model, imagenet

    model, path = create_model("cait_nano_32", 1000), tmp_path / "a.safetensors"
    save_weights(model, path, {"classes": "\n".join(f"plant {label}" for label in range(1000))})
    for name in ("cait_nano_32", "cait_nano_32_fe"):
        with pytest.raises(
            CaiTError, match=r"which names 1,000 classes \(plant 0, .*expected ImageNet-1k's"
        ):
            collection.create(collection.entry(name), str(path))
    save_weights(model, path, {"classes": "\n".join(imagenet.synsets()[::-1])})
    built = collection.create(collection.entry("cait_nano_32"), str(path))
    kernels = [np.asarray(one.head.kernel) for one in (built, model)]
    np.testing.assert_array_equal(kernels[0], kernels[1][:, ::-1])


@pytest.mark.parametrize("classes", [0, 5])
def test_a_classifier_is_not_built_with_a_random_head(classes, tmp_path):
    from cait_tf import create_model

    save_weights(create_model("cait_nano_32", classes), tmp_path / "a.safetensors")
    with pytest.raises(CaiTError, match=r"a\.safetensors, which has no head for 1000 classes"):
        collection.create(collection.entry("cait_nano_32"), str(tmp_path / "a.safetensors"))
    collection.create(collection.entry("cait_nano_32_fe"), str(tmp_path / "a.safetensors"))
