"""TF-Serving's contract: where it looks for a model, and what its REST interface makes of it."""

import base64
import json
import os

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from cait_finetune.export import saved_model
from cait_finetune.export.serving import link_version
from tests.cait_finetune.export.subjects import NAMES, evidence_of, lively_subject, samples


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    evidence = evidence_of(lively_subject())
    directory = tmp_path_factory.mktemp("export") / "saved_model"
    return evidence, directory, saved_model.export(evidence.subject, evidence, directory)


def rest(directory, body: str) -> str:
    """`POST :predict` in row format, as TF-Serving answers it (tensorflow.org/tfx/serving/api_rest)."""
    (version,) = [path for path in directory.iterdir() if path.name.isdigit()]
    serve = tf.saved_model.load(str(version)).signatures["serving_default"]
    (name,) = serve.structured_input_signature[1]  # else an instance has to name its inputs
    rows = [row.get(name, row) for row in json.loads(body)["instances"]]
    outputs = serve(**{name: tf.constant([base64.b64decode(row["b64"]) for row in rows])})
    answers = [{} for _ in rows]
    for key, tensor in outputs.items():
        assert not key.endswith("_bytes")  # such a one would come back as base64
        values = tensor.numpy()
        assert len(values) == len(rows)
        for answer, value in zip(answers, values, strict=True):
            answer[key] = value.decode() if isinstance(value, bytes) else value.tolist()
    return json.dumps({"predictions": answers})


def test_the_graph_has_what_the_server_looks_for(exported):
    _, directory, done = exported
    assert done["serving"] == str(directory.parent / "serving")
    assert [path.name for path in (directory.parent / "serving").iterdir()] == ["1"]
    graph = SavedModel.FromString(
        (directory.parent / "serving" / "1" / "saved_model.pb").read_bytes()
    )
    (meta,) = [one for one in graph.meta_graphs if "serve" in one.meta_info_def.tags]
    signature = meta.signature_def["serving_default"]
    assert signature.method_name == "tensorflow/serving/predict"
    ((name, tensor),) = signature.inputs.items()
    assert name.endswith("_bytes")
    assert tensor.dtype == tf.string.as_datatype_enum
    assert [axis.size for axis in tensor.tensor_shape.dim] == [-1]
    for output in signature.outputs.values():
        assert output.tensor_shape.dim[0].size == -1  # one row for each instance


@pytest.mark.parametrize("named", [True, False])
def test_files_in_json_get_calibrated_probabilities(exported, named):
    evidence, directory, _ = exported
    files = [{"b64": base64.b64encode(data).decode()} for _, data in samples()]
    rows = [{"image_bytes": file} for file in files] if named else files
    answers = json.loads(rest(directory.parent / "serving", json.dumps({"instances": rows})))
    expected = evidence.subject.probabilities(evidence.logits)  # with its temperature
    got = [answer["probabilities"] for answer in answers["predictions"]]
    np.testing.assert_allclose(got, expected, atol=1e-4)
    names = [answer["class_names"] for answer in answers["predictions"]]
    assert names == [NAMES[index] for index in expected.argmax(-1)]


def test_the_files_are_there_once(exported):
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
