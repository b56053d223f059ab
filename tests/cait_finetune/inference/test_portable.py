"""ONNX and LiteRT files get images in their own size, or in the size that the model requires."""

import json
import sys

import numpy as np
import pytest
import tensorflow as tf

from cait_finetune.data.preprocess import Preprocessing
from cait_finetune.errors import UserError
from cait_finetune.inference.portable import PixelModel, open_litert, open_onnx, stacked
from cait_finetune.runs.provenance import NAME
from tests.cait_finetune.stand_ins import encode, picture

#: The images have different sizes.
IMAGES = [picture(20 + number, 30, seed=number) for number in range(3)]
FILES = [encode(image) for image in IMAGES]


def preprocessing(size, stated):
    return Preprocessing(size or 1, 1.0, "bicubic", (0.0,) * 3, (1.0,) * 3)


def expected(images) -> np.ndarray:
    """Return the outputs of the models below: the softmax of the mean colour divided by 64."""
    return tf.nn.softmax([np.mean(image, (0, 1)) / 64 for image in images]).numpy()


def write_onnx(path, shape, kind="UINT8", class_names=None, stated=None):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, types = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=types.FLOAT),
        helper.make_node("ReduceMean", ["floats"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Div", ["mean", "scale"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=-1),
        helper.make_node("ArgMax", ["logits"], ["classes"], axis=-1),
    ]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("images", getattr(types, kind), shape)],
        [
            helper.make_tensor_value_info("classes", types.INT64, None),
            helper.make_tensor_value_info("probabilities", types.FLOAT, None),
        ],
        [helper.make_tensor("scale", types.FLOAT, [], [64.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    facts = {"class_names": json.dumps(class_names)} if class_names else {}
    facts |= {NAME: stated} if stated else {}
    helper.set_model_props(model, facts)
    onnx.save(model, path)


def write_litert(path, shape, kind="uint8"):
    pytest.importorskip("ai_edge_litert")

    class Mean(tf.Module):
        @tf.function
        def serve(self, images):
            logits = tf.reduce_mean(tf.cast(images, tf.float32), [1, 2]) / 64
            return {"classes": tf.argmax(logits, -1), "probabilities": tf.nn.softmax(logits)}

    spec = tf.TensorSpec([size if isinstance(size, int) else None for size in shape], kind)
    module = Mean()
    serve = module.serve.get_concrete_function(spec)
    path.write_bytes(tf.lite.TFLiteConverter.from_concrete_functions([serve], module).convert())


KINDS = [
    pytest.param(write_onnx, open_onnx, "model.onnx", id="onnx"),
    pytest.param(write_litert, open_litert, "model.tflite", id="litert"),
]


@pytest.fixture
def directory(tmp_path):
    (tmp_path / "labels.txt").write_text("red\ngreen\nblue\n")
    return tmp_path


@pytest.mark.parametrize(("write", "open_model", "name"), KINDS)
@pytest.mark.parametrize("count", [1, "count"])
def test_images_of_any_size_are_given_as_they_are(directory, write, open_model, name, count):
    write(directory / name, [count, "height", "width", 3])
    model = open_model(directory / name, preprocessing)
    assert model.class_names == ["red", "green", "blue"]
    np.testing.assert_allclose(model(FILES), expected(IMAGES), atol=1e-5)


@pytest.mark.parametrize(("write", "open_model", "name"), KINDS)
@pytest.mark.parametrize("count", [1, "count"])
def test_a_model_of_fixed_size_gets_images_of_this_size(directory, write, open_model, name, count):
    write(directory / name, [count, 16, 16, 3])
    model = open_model(directory / name, preprocessing)
    fitted = [preprocessing(16, None).fit(tf.constant(image)).numpy() for image in IMAGES]
    assert np.abs(expected(fitted) - expected(IMAGES)).max() > 1e-3
    np.testing.assert_allclose(model(FILES), expected(fitted), atol=1e-5)


@pytest.mark.slow
def test_images_of_one_size_go_together(directory):
    calls = []

    def call(images):
        calls.append(images.shape)
        return np.zeros((len(images), 3))

    for count, size in ((None, (16, 16)), (1, (16, 16)), (None, (None, None))):
        PixelModel(directory / "model", call, (count, *size, 3), preprocessing)(FILES)
    assert calls[:4] == [(3, 16, 16, 3)] + [(1, 16, 16, 3)] * 3
    assert calls[4:] == [(1, *image.shape) for image in IMAGES]


@pytest.mark.parametrize(("write", "open_model", "name"), KINDS)
@pytest.mark.parametrize(
    ("shape", "wrong_kind", "message"),
    [
        ([1, 16, 16, 1], False, r"whose input has the shape \(1, 16, 16, 1\)"),
        ([8, 16, 16, 3], False, "whose input has the shape"),
        ([1, 16, None, 3], False, "whose input has the shape"),
        ([1, 16, 16, 3], True, "whose input is (tensor\\(float\\)|float32), expected one input"),
    ],
)
def test_a_model_of_something_else(directory, write, open_model, name, shape, wrong_kind, message):
    kind = {"onnx": "FLOAT", "tflite": "float32"}[name.partition(".")[2]]
    write(directory / name, shape, *[kind] * wrong_kind)
    with pytest.raises(UserError, match=f"model: got .*{name}, {message}"):
        open_model(directory / name, preprocessing)


@pytest.mark.parametrize(("write", "open_model", "name"), KINDS)
def test_a_file_that_is_not_a_model_raises_an_error(directory, write, open_model, name):
    write(directory / name, [1, 16, 16, 3])  # skips the test if a package is missing
    (directory / name).write_bytes(b"no model")
    with pytest.raises(UserError, match=rf"model: got .*{name} \(.+\), expected a"):
        open_model(directory / name, preprocessing)


@pytest.mark.parametrize(
    ("open_model", "module", "extra"),
    [(open_onnx, "onnxruntime", "onnx"), (open_litert, "ai_edge_litert.interpreter", "litert")],
)
def test_a_package_that_is_missing(directory, open_model, module, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"pip install 'cait-finetune\[{extra}\]'"):
        open_model(directory / "model", preprocessing)


def test_class_names_inside_an_onnx_file(tmp_path):
    names = ["red", "gr\nün", "blue"]
    write_onnx(tmp_path / "model.onnx", [1, 16, 16, 3], class_names=names)
    assert open_onnx(tmp_path / "model.onnx", preprocessing).class_names == names
    (tmp_path / "labels.txt").write_text("red\ngr ün\nblue\n", encoding="utf-8")
    assert open_onnx(tmp_path / "model.onnx", preprocessing).class_names == names
    (tmp_path / "labels.txt").write_text("gr ün\nred\nblue\n", encoding="utf-8")
    with pytest.raises(
        UserError, match=r"model\.onnx with other class names inside than in labels"
    ):
        open_onnx(tmp_path / "model.onnx", preprocessing)


def test_labels_txt_needs_one_line_per_class(directory):
    def model() -> PixelModel:
        return PixelModel(
            directory / "model", lambda images: np.zeros((1, 3)), (1, 8, 8, 3), preprocessing
        )

    (directory / "labels.txt").write_text("one\ntwo\n")
    with pytest.raises(UserError, match=r"of 3 columns, with 2 names, expected as many"):
        model()(FILES[:1])
    (directory / "labels.txt").write_text("one\ntwo\u2028and\x0ca half\nthree\n", encoding="utf-8")
    assert model().class_names == ["one", "two\u2028and\x0ca half", "three"]
    (directory / "labels.txt").unlink()
    with pytest.raises(UserError, match=r"model without labels.txt, expected that file beside it"):
        model()


def test_the_outputs_of_numbers_are_stacked_in_order():
    """A file may list its outputs in any order. Probabilities have no third axis."""
    prediction = np.arange(6.0).reshape(3, 2)
    ends = {
        "upper": prediction + 2,
        "lower": prediction - 1,
        "target_names": np.array([b"a", b"b"]),
    }
    got = stacked({**ends, "prediction": prediction})
    assert got.shape == (3, 2, 3)
    for column, wanted in enumerate((prediction, prediction - 1, prediction + 2)):
        np.testing.assert_array_equal(got[:, :, column], wanted)
    alone = stacked({"prediction": prediction})
    assert alone.shape == (3, 2, 1)
    np.testing.assert_array_equal(alone[:, :, 0], prediction)
    probabilities = np.full((3, 4), 0.25)
    outputs = {"classes": np.zeros(3), "probabilities": probabilities}
    np.testing.assert_array_equal(stacked(outputs), probabilities)


def test_a_model_of_numbers_needs_a_name_for_each_target(directory):
    def model(targets: int) -> PixelModel:
        numbers = np.zeros((1, targets, 3))
        return PixelModel(directory / "model", lambda _: numbers, (1, 8, 8, 3), preprocessing)

    assert model(3)(FILES).shape == (3, 3, 3)
    with pytest.raises(UserError, match="of 2 columns, with 3 names"):
        model(2)(FILES)


def test_a_foreign_output_named_prediction_is_no_number():
    outputs = {"prediction": np.zeros((2, 10))}
    assert stacked(outputs, ours=False).shape == (2, 10)
    assert stacked(outputs).shape == (2, 10, 1)
