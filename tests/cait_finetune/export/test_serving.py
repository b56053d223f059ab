"""TF-Serving finds the exported model, and its REST API can serve the signatures."""

import base64
import json
import os

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from cait_finetune.export import saved_model
from cait_finetune.export.serving import link_version
from tests.cait_finetune.export.exported_models import NAMES, lively_model, samples, validation_of


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    validation = validation_of(lively_model())
    directory = tmp_path_factory.mktemp("export") / "saved_model"
    return validation, directory, saved_model.export(validation.exported, validation, directory)


def rest(directory, body: str) -> str:
    """Answer `POST :predict` as TF-Serving does.

    Source: tensorflow.org/tfx/serving/api_rest and TF-Serving's json_tensor.cc.
    """
    (version,) = [path for path in directory.iterdir() if path.name.isdigit()]
    asked = json.loads(body)
    signature = asked.get("signature_name", "serving_default")
    serve = tf.saved_model.load(str(version)).signatures[signature]
    (name,) = serve.structured_input_signature[1]  # with two inputs an instance must name them
    given = asked["instances"] if "instances" in asked else asked["inputs"]
    files = [one.get(name, one) for one in given]
    outputs = serve(**{name: tf.constant([base64.b64decode(file["b64"]) for file in files])})
    columns = {key: plain(tensor.numpy().tolist()) for key, tensor in outputs.items()}
    assert not any(key.endswith("_bytes") for key in columns)  # TF-Serving returns those as base64
    if "inputs" in asked:
        return json.dumps({"outputs": columns})
    sizes = {len(values) for values in columns.values()}
    if len(sizes) > 1:
        return json.dumps({"error": f"inconsistent batch size: {sizes}"})
    answers = [
        dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)
    ]
    return json.dumps({"predictions": answers})


def plain(value):
    """Decode every bytes value in nested lists."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value.decode() if isinstance(value, bytes) else value


@pytest.mark.slow
def test_the_graph_has_what_the_server_looks_for(exported):
    _, directory, done = exported
    assert done["serving"] == str(directory.parent / "serving")
    assert [path.name for path in (directory.parent / "serving").iterdir()] == ["1"]
    graph = SavedModel.FromString(
        (directory.parent / "serving" / "1" / "saved_model.pb").read_bytes()
    )
    (meta,) = [one for one in graph.meta_graphs if "serve" in one.meta_info_def.tags]
    signature = meta.signature_def["rows"]
    assert signature.method_name == "tensorflow/serving/predict"
    ((name, tensor),) = signature.inputs.items()
    assert name.endswith("_bytes")
    assert tensor.dtype == tf.string.as_datatype_enum
    assert [axis.size for axis in tensor.tensor_shape.dim] == [-1]
    for output in signature.outputs.values():
        assert output.tensor_shape.dim[0].size == -1  # one row for each instance


@pytest.mark.slow
@pytest.mark.parametrize("named", [True, False])
def test_files_in_json_get_calibrated_probabilities(exported, named):
    validation, directory, _ = exported
    files = [{"b64": base64.b64encode(data).decode()} for _, data in samples()]
    rows = [{"image_bytes": file} for file in files] if named else files
    body = json.dumps({"signature_name": "rows", "instances": rows})
    answers = json.loads(rest(directory.parent / "serving", body))["predictions"]
    expected = validation.exported.values(validation.logits)  # calibrated
    for answer, wanted in zip(answers, expected, strict=True):
        assert answer["class_names"] == NAMES
        np.testing.assert_allclose(answer["probabilities"], wanted, atol=1e-4)
        assert answer["predicted_class"] == NAMES[wanted.argmax()]
        assert answer["predicted_index"] == wanted.argmax()
        assert answer["probability"] == max(answer["probabilities"])


@pytest.mark.slow
def test_the_default_signature_is_for_the_columnar_format(exported):
    validation, directory, _ = exported
    files = [{"b64": base64.b64encode(data).decode()} for _, data in samples()]
    answer = json.loads(rest(directory.parent / "serving", json.dumps({"inputs": files})))
    columns, expected = answer["outputs"], validation.exported.values(validation.logits)
    assert columns["class_names"] == NAMES
    np.testing.assert_allclose(columns["probabilities"], expected, atol=1e-4)
    assert columns["predicted_class"] == [NAMES[index] for index in expected.argmax(-1)]
    in_rows = json.loads(rest(directory.parent / "serving", json.dumps({"instances": files})))
    assert "inconsistent batch size" in in_rows["error"]


@pytest.mark.slow
def test_the_serving_folder_links_to_the_exported_files(exported):
    directory = exported[1]
    for path in directory.rglob("*"):
        if path.is_file():
            again = directory.parent / "serving" / "1" / path.relative_to(directory)
            assert os.path.samefile(path, again)


def test_where_there_are_no_links_they_are_copied(tmp_path, monkeypatch):
    (tmp_path / "saved_model").mkdir()
    (tmp_path / "saved_model" / "saved_model.pb").write_text("graph")

    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    link_version(tmp_path / "saved_model", tmp_path / "serving")
    copied = tmp_path / "serving" / "1" / "saved_model.pb"
    assert copied.read_text() == "graph"
    assert copied.stat().st_nlink == 1
