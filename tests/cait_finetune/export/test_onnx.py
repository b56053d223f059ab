"""ONNX files, run by onnxruntime."""

import json

import numpy as np
import pytest

from cait_finetune.errors import UserError
from cait_finetune.export import onnx as exporter
from cait_finetune.export.exported_model import ValidationSamples
from cait_finetune.export.parity import check_answer, check_pixels, classify_all
from tests.cait_finetune.export.exported_models import (
    NAMES,
    TARGETS,
    UNITS,
    lively_model,
    lively_regressor,
    samples,
    validation_of,
)

onnxruntime = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
tf2onnx = pytest.importorskip("tf2onnx")


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    validation = validation_of(lively_model())
    directory = tmp_path_factory.mktemp("export") / "onnx"
    return validation, directory, exporter.export(validation.exported, validation, directory)


@pytest.mark.slow
def test_the_export_equals_the_evaluation_for_every_image_size(exported):
    validation, directory, done = exported
    assert done["path"] == str(directory / "model.onnx")
    got = classify_all(exporter.load(directory / "model.onnx"), validation.pixels)
    np.testing.assert_allclose(got, validation.exported.values(validation.logits), atol=1e-3)
    assert done["difference"] <= 1e-3
    assert [path.name for path in directory.parent.iterdir()] == ["onnx"]


def test_names_and_shapes_are_those_of_the_contract(exported):
    session = onnxruntime.InferenceSession(str(exported[1] / "model.onnx"))
    (images,), outputs = session.get_inputs(), session.get_outputs()
    assert (images.name, images.type) == ("images", "tensor(uint8)")
    assert images.shape == ["batch", "height", "width", 3]
    assert {one.name: (one.shape, one.type) for one in outputs} == {
        "predicted_class": (["batch"], "tensor(string)"),
        "probability": (["batch"], "tensor(float)"),
        "probabilities": (["batch", 4], "tensor(float)"),
        "class_names": ([4], "tensor(string)"),
    }
    assert json.loads(session.get_modelmeta().custom_metadata_map["class_names"]) == NAMES


def test_each_probability_is_of_the_class_in_its_place(exported):
    validation, directory, _ = exported
    for image, wanted in zip(
        validation.pixels, validation.exported.values(validation.logits), strict=True
    ):
        answer = exporter.load_answer(directory / "model.onnx")(image[None])
        named = dict(zip(answer["class_names"], answer["probabilities"][0], strict=True))
        assert list(named) == NAMES
        np.testing.assert_allclose(list(named.values()), wanted, atol=1e-3)
        assert answer["predicted_class"][0] == NAMES[wanted.argmax()]
        assert answer["probability"][0] == max(named.values())


def test_a_differing_export_is_not_kept(exported, tmp_path, monkeypatch):
    validation, directory, _ = exported
    written = onnx.load(directory / "model.onnx")
    monkeypatch.setattr(tf2onnx.convert, "from_function", lambda *_, **__: (written, None))
    load = exporter.load
    monkeypatch.setattr(exporter, "load", lambda path: lambda images: load(path)(images)[:, ::-1])
    with pytest.raises(UserError, match="export: got an ONNX file with another top-1 on"):
        exporter.export(validation.exported, validation, tmp_path / "onnx")
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_its_metadata_still_names_its_classes(exported, tmp_path):
    from cait_finetune.inference.portable import open_onnx

    model = onnx.load(exported[1] / "model.onnx")
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "model.onnx")
    way = exported[0].exported.preprocessing
    assert open_onnx(tmp_path / "model.onnx", lambda *_: way).class_names == NAMES
    (tmp_path / "labels.txt").write_text("\n".join(reversed(NAMES)) + "\n")
    with pytest.raises(UserError, match="other class names inside than in labels"):
        open_onnx(tmp_path / "model.onnx", lambda *_: way)


@pytest.mark.slow
def test_a_regressor_states_its_targets_and_is_refused_with_a_wrong_number(tmp_path):
    exported = lively_regressor()
    validation = ValidationSamples(exported, samples())
    done = exporter.export(exported, validation, tmp_path / "onnx")
    assert done["difference"] <= 1e-3
    path = tmp_path / "onnx" / "model.onnx"
    session = onnxruntime.InferenceSession(str(path))
    assert {one.name: (one.shape, one.type) for one in session.get_outputs()} == {
        "prediction": (["batch", 2], "tensor(float)"),
        "lower": (["batch", 2], "tensor(float)"),
        "upper": (["batch", 2], "tensor(float)"),
        "target_names": ([2], "tensor(string)"),
    }
    answer = exporter.load_answer(path)
    assert list(answer(validation.pixels[0][None])["target_names"]) == TARGETS
    scale = exported.model.target_scale
    for target in range(2):
        mean = np.array(scale.mean)
        scale.mean.assign(mean + 0.01 * np.eye(2)[target] * UNITS)
        other = ValidationSamples(exported, samples())
        with pytest.raises(UserError, match=r"more than 0\.001 \(values by 0\.0"):
            check_pixels("an ONNX file", exporter.load(path), other)
        with pytest.raises(
            UserError, match=r"prediction by 0\.0\d+, lower by 0\.0\d+, upper by 0\.0"
        ):
            check_answer("an ONNX file", answer, other)
        scale.mean.assign(mean)
