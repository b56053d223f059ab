import json
import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from cait_finetune.data.decode import decode
from cait_finetune.data.preprocess import Preprocessing
from cait_finetune.errors import UserError
from cait_finetune.export.saved_model import ServingModule, export_saved_model
from cait_finetune.scores.activation import SIGMOID, SOFTMAX
from cait_finetune.scores.probabilities import Probabilities
from tests.cait_finetune.tiny import tiny_model

SHALLOW = {"depth": 1, "depth_token_only": 1}  # faster to trace
NAMES = ["zero", "one", "zwölf", "three"]
PREPROCESSING = Preprocessing(32, 1.0, "bicubic", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def encoded() -> list[tuple[str, bytes]]:
    """Return a PNG, a JPEG, a grey PNG and a grey JPEG of different sizes."""
    rng = np.random.default_rng(0)

    def noise(*shape):
        return tf.constant(rng.integers(0, 256, shape), tf.uint8)

    return [
        ("colour.png", tf.io.encode_png(noise(40, 50, 3)).numpy()),
        ("colour.jpg", tf.io.encode_jpeg(noise(64, 32, 3)).numpy()),
        ("grey.png", tf.io.encode_png(noise(32, 32, 1)).numpy()),
        ("grey.jpg", tf.io.encode_jpeg(noise(20, 90, 1)).numpy()),
    ]


def lively_model(seed: int = 0, **geometry):
    """Return a model that predicts different classes for different images."""
    model = tiny_model(num_classes=len(NAMES), seed=seed, **geometry)
    kernel = np.random.default_rng(seed).normal(size=model.head.kernel.shape)
    model.head.kernel.assign(kernel.astype("float32"))
    images = tf.stack([PREPROCESSING(decode(data)) for _, data in encoded()])
    model.head.bias.assign(-np.mean(model(images), axis=0))
    return model


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    model = lively_model()
    directory = tmp_path_factory.mktemp("run") / "saved_model"
    difference = export_saved_model(model, PREPROCESSING, decode, NAMES, encoded(), directory)
    return model, directory, difference, tf.saved_model.load(str(directory))


@pytest.mark.slow
def test_the_exported_graph_splits_the_patches_into_two_halves(exported):
    model, _, _, loaded = exported
    nodes = loaded.signatures["images"].graph.as_graph_def()
    operations = [one.op for one in nodes.node]
    operations += [one.op for function in nodes.library.function for one in function.node_def]
    backbone = model.backbone
    wanted = 2 * len(backbone.blocks) + len(backbone.blocks_token_only)
    assert operations.count("Softmax") % wanted == 0
    assert operations.count("Softmax") > 0


def expected_outputs(model):
    images = tf.stack([PREPROCESSING(decode(data)) for _, data in encoded()])
    features = np.array(model.backbone(images, training=False))
    logits = np.array(model(images, training=False))
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return images, features, logits, odds / odds.sum(-1, keepdims=True)


def test_the_export_is_there_and_nothing_beside_it(exported):
    _, directory, difference, _ = exported
    assert (directory / "saved_model.pb").is_file()
    assert [path.name for path in directory.parent.iterdir()] == ["saved_model"]
    assert 0 <= difference <= 1e-4


def test_the_signatures_names_and_shapes(exported):
    *_, loaded = exported
    assert set(loaded.signatures) == {"serving_default", "rows", "images"}
    serving, rows, images = (
        loaded.signatures[name] for name in ("serving_default", "rows", "images")
    )

    def inputs(signature):
        specs = signature.structured_input_signature[1]
        return {name: (spec.shape.as_list(), spec.dtype) for name, spec in specs.items()}

    def outputs(signature):
        specs = signature.structured_outputs
        return {name: (spec.shape.as_list(), spec.dtype) for name, spec in specs.items()}

    assert inputs(serving) == inputs(rows) == {"image_bytes": ([None], tf.string)}
    assert inputs(images) == {"images": ([None, 32, 32, 3], tf.float32)}
    answer = {
        "predicted_class": ([None], tf.string),
        "probability": ([None], tf.float32),
        "probabilities": ([None, 4], tf.float32),
    }
    assert outputs(serving) == {**answer, "class_names": ([4], tf.string)}
    assert outputs(rows) == {
        **answer,
        "class_names": ([None, 4], tf.string),
        "predicted_index": ([None], tf.int32),
    }
    assert outputs(images) == {
        "logits": ([None, 4], tf.float32),
        "features": ([None, 48], tf.float32),
    }


@pytest.mark.slow
def test_files_of_every_kind_get_evaluations_probabilities(exported):
    model, _, _, loaded = exported
    *_, probabilities = expected_outputs(model)
    got = loaded.signatures["serving_default"](
        image_bytes=tf.constant([data for _, data in encoded()])
    )
    np.testing.assert_allclose(got["probabilities"], probabilities, atol=1e-5)
    np.testing.assert_allclose(np.sum(got["probabilities"], -1), 1, atol=1e-6)
    classes = probabilities.argmax(-1)
    assert len(set(classes)) > 1  # else an export with a constant class would pass
    texts = {name: np.char.decode(got[name].numpy().astype(bytes)) for name in _TEXTS}
    assert texts["class_names"].tolist() == NAMES
    assert texts["predicted_class"].tolist() == [NAMES[i] for i in classes]
    for row, name, probability in zip(
        got["probabilities"].numpy(), texts["predicted_class"], got["probability"], strict=True
    ):
        assert dict(zip(texts["class_names"], row, strict=True))[name] == probability


_TEXTS = ("class_names", "predicted_class")


def test_rows_repeat_the_names_for_each_image(exported):
    *_, loaded = exported
    data = tf.constant([data for _, data in encoded()])
    serving, rows = (loaded.signatures[name](data) for name in ("serving_default", "rows"))
    for name in ("predicted_class", "probability", "probabilities"):
        np.testing.assert_array_equal(rows[name], serving[name])
    np.testing.assert_array_equal(rows["predicted_index"], np.argmax(rows["probabilities"], -1))
    np.testing.assert_array_equal(rows["class_names"], [serving["class_names"]] * 4)


def test_one_file_alone_and_no_file(exported):
    model, _, _, loaded = exported
    *_, probabilities = expected_outputs(model)
    serving = loaded.signatures["serving_default"]
    one = serving(image_bytes=tf.constant([encoded()[1][1]]))
    np.testing.assert_allclose(one["probabilities"], probabilities[1:2], atol=1e-5)
    assert serving(image_bytes=tf.zeros((0,), tf.string))["probabilities"].shape == (0, 4)


def test_batches_get_logits_and_features(exported):
    model, _, _, loaded = exported
    images, features, logits, _ = expected_outputs(model)
    got = loaded.signatures["images"](images=images)
    np.testing.assert_allclose(got["features"], features, atol=1e-5)
    np.testing.assert_allclose(got["logits"], logits, atol=1e-5)


def test_labels_are_all_names_in_order(exported):
    *_, loaded = exported
    assert [name.decode() for name in loaded.labels().numpy()] == NAMES


ALONE = """
import json, sys
import numpy as np
import tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
data = [open(path, "rb").read() for path in sys.argv[2:]]
got = loaded.signatures["serving_default"](image_bytes=tf.constant(data))
ours = [name for name in sys.modules if name.startswith(("cait_tf", "cait_finetune"))]
result = {"p": got["probabilities"].numpy().tolist(), "ours": ours,
          "labels": [name.decode() for name in loaded.labels().numpy()]}
print("RESULT " + json.dumps(result))
"""


@pytest.mark.slow
def test_it_serves_without_this_packages_code(exported, tmp_path):
    model, directory, _, _ = exported
    paths = []
    for name, data in encoded():
        (tmp_path / name).write_bytes(data)
        paths.append(str(tmp_path / name))
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    environment.pop("PYTHONPATH", None)
    run = subprocess.run(
        [sys.executable, "-c", ALONE, str(directory), *paths],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=tmp_path,
        env=environment,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    line = next(line for line in run.stdout.splitlines() if line.startswith("RESULT "))
    result = json.loads(line.removeprefix("RESULT "))
    assert result["ours"] == []
    assert result["labels"] == NAMES
    np.testing.assert_allclose(result["p"], expected_outputs(model)[-1], atol=1e-4)


def served(module: ServingModule) -> dict[str, np.ndarray]:
    outputs = module.rows(module.logits(tf.constant([data for _, data in encoded()])))
    return {name: one.numpy() for name, one in outputs.items()}


@pytest.mark.slow
@pytest.mark.parametrize("activation", [SOFTMAX, SIGMOID])
def test_a_temperature_changes_probabilities_and_no_class(activation):
    model = lively_model()
    *_, logits, _ = expected_outputs(model)
    scaled = logits.astype("float64") / 4
    wanted = 1 / (1 + np.exp(-scaled))
    if activation is SOFTMAX:
        wanted = np.exp(scaled) / np.exp(scaled).sum(-1, keepdims=True)
    got = served(ServingModule(model, PREPROCESSING, decode, NAMES, Probabilities(activation, 4.0)))
    np.testing.assert_allclose(got["probabilities"], wanted, atol=1e-5)
    np.testing.assert_array_equal(got["predicted_index"], logits.argmax(-1))
    np.testing.assert_array_equal(got["probability"], got["probabilities"].max(-1))


@pytest.mark.slow
def test_the_largest_logit_wins_among_saturated_labels():
    model = lively_model()
    model.head.bias.assign([100.0, 200.0, 300.0, 100.0])
    got = served(ServingModule(model, PREPROCESSING, decode, NAMES, Probabilities(SIGMOID)))
    assert (got["probabilities"] == 1).all()
    np.testing.assert_array_equal(got["predicted_index"], [2] * 4)
    assert [name.decode() for name in got["predicted_class"]] == [NAMES[2]] * 4


@pytest.mark.slow
def test_the_export_has_the_temperature_inside(tmp_path):
    model = lively_model(**SHALLOW)
    *_, logits, _ = expected_outputs(model)
    where = tmp_path / "saved_model"
    export_saved_model(
        model, PREPROCESSING, decode, NAMES, encoded(), where, Probabilities(SIGMOID, 4.0)
    )
    serving = tf.saved_model.load(str(where)).signatures["serving_default"]
    got = serving(image_bytes=tf.constant([data for _, data in encoded()]))["probabilities"]
    np.testing.assert_allclose(got, 1 / (1 + np.exp(-logits / 4)), atol=1e-5)


@pytest.mark.slow
def test_an_export_that_differs_is_removed(tmp_path, monkeypatch):
    model = lively_model(**SHALLOW)
    save = tf.saved_model.save

    def save_then_change(*args, **kwargs):
        save(*args, **kwargs)
        model.head.kernel.assign(-np.array(model.head.kernel))

    monkeypatch.setattr(tf.saved_model, "save", save_then_change)
    with pytest.raises(UserError, match="export: got a SavedModel with another top-1"):
        export_saved_model(model, PREPROCESSING, decode, NAMES, encoded(), tmp_path / "saved_model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_model_that_is_not_a_number_is_not_exported(tmp_path):
    model = lively_model(**SHALLOW)
    model.head.bias.assign(np.full(4, np.nan))
    with pytest.raises(UserError, match="nan"):
        export_saved_model(model, PREPROCESSING, decode, NAMES, encoded(), tmp_path / "saved_model")
    assert list(tmp_path.iterdir()) == []
