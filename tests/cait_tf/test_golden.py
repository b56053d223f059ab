"""The forward pass equals the original's, for every weight format and on another backend."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest

import cait_tf
from tests.golden_files import GOLDEN, arrays, tiny_classifier

TOLERANCE = 1e-4
TORCH = pytest.param("torch", marks=pytest.mark.needs("torch"))


def largest(ours, reference) -> float:
    ours = keras.ops.convert_to_numpy(ours)
    assert ours.shape == reference.shape
    return float(np.abs(ours - reference).max())


@pytest.mark.parametrize(
    "file",
    [
        "weights_timm.safetensors",
        pytest.param("weights_official.pth", marks=pytest.mark.needs("torch")),
    ],
)
def test_forward_equals_timm(file):
    golden = arrays("forward")
    model = tiny_classifier()
    report = cait_tf.load_weights(model, GOLDEN / file)
    assert len(report.loaded) == len(model.weights)

    images = golden["images_nhwc"]
    logits, maps = model(images, return_attention=True)
    assert largest(logits, golden["logits"]) < TOLERANCE
    assert largest(model.backbone(images), golden["features"]) < TOLERANCE
    assert largest(model.backbone.forward_features(images), golden["tokens"]) < TOLERANCE
    assert set(maps) == {name for name in golden if name.endswith("_att")}
    for name, attention in maps.items():
        assert largest(attention, golden[name]) < TOLERANCE, name


@pytest.mark.parametrize("name", ["cait_tiny_64", "cait_tiny_64_fe"])
def test_forward_equals_the_collection(name):
    golden = arrays(f"cait_tf_hub/{name}_io")
    model = tiny_classifier()
    model = model.backbone if name.endswith("_fe") else model
    report = cait_tf.load_weights(model, GOLDEN / "cait_tf_hub" / name)
    assert len(report.loaded) == len(model.weights)
    output, maps = model(golden["images"], return_attention=True)
    assert largest(output, golden["output"]) < TOLERANCE
    assert set(maps) == set(golden) - {"images", "output"}
    for key, attention in maps.items():
        assert largest(attention, golden[key]) < TOLERANCE, key


FORWARD = """
golden = arrays("forward")
logits, maps = model(golden["images_nhwc"], return_attention=True)
got = {"logits": logits, **maps}
worst = max(np.abs(keras.ops.convert_to_numpy(got[k]) - golden[k]).max() for k in got)
assert worst < 1e-4, worst
pixels = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3)).astype("uint8")
whole = cait_tf.ImageClassifier(model, list("abcdefg"), 1.0, "bicubic", [0.5] * 3, [0.5] * 3)
wanted = keras.ops.softmax(model((pixels / 127.5 - 1).astype("float32")))
worst = keras.ops.max(keras.ops.abs(whole(pixels) - wanted))
assert worst < 1e-4, worst
print(keras.backend.backend(), "agrees")
"""
MODEL = """
import sys
import keras, numpy as np
from keras import ops
import cait_tf
from tests.golden_files import GOLDEN, arrays, tiny_classifier
model = tiny_classifier()
cait_tf.load_weights(model, GOLDEN / "weights_timm.safetensors")
"""
GRADIENTS = """
images, labels = arrays("forward")["images_nhwc"], arrays("adamw_layer_decay")["labels"]
variables = model.trainable_variables

def loss_of(logits):
    return ops.mean(keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True))

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf
    with tf.GradientTape() as tape:
        loss = loss_of(model(images, training=True))
    gradients = tape.gradient(loss, [variable.value for variable in variables])
elif keras.backend.backend() == "jax":
    import jax
    others = [variable.value for variable in model.non_trainable_variables]
    gradients = jax.jit(jax.grad(
        lambda values: loss_of(model.stateless_call(values, others, images, training=True)[0])
    ))([variable.value for variable in variables])
else:
    loss_of(model(images, training=True)).backward()
    gradients = [variable.value.grad for variable in variables]
gradients = [ops.convert_to_numpy(gradient) for gradient in gradients]
"""
SAVE = """
assert "tensorflow" not in sys.modules, "cait_tf must not need TensorFlow here"
np.savez(sys.argv[1], *gradients)
"""


@pytest.fixture(scope="module", params=["jax", TORCH])
def on_another_backend(request, tmp_path_factory):
    """The backend, the finished process that ran on it, and the file of its gradients."""
    path = tmp_path_factory.mktemp("gradients") / "all.npz"
    environment = {**os.environ, "KERAS_BACKEND": request.param}
    done = subprocess.run(
        [sys.executable, "-c", MODEL + FORWARD + GRADIENTS + SAVE, str(path)],
        cwd=GOLDEN.parents[1], env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return request.param, done, path


@pytest.mark.slow
def test_forward_is_the_same_on_another_backend(on_another_backend):
    backend, done, _ = on_another_backend
    assert f"{backend} agrees" in done.stdout, done.stderr[-2000:]


@pytest.mark.slow
def test_gradients_are_the_same_on_another_backend(on_another_backend):
    _, done, path = on_another_backend
    assert done.returncode == 0, done.stderr[-2000:]
    exec(MODEL + GRADIENTS, names := {})
    ours = names["gradients"]
    with np.load(path) as file:
        theirs = [file[key] for key in file.files]
    assert len(ours) == len(theirs) == 98
    assert max(np.abs(gradient).max() for gradient in ours) > 0.01
    for one, other in zip(ours, theirs, strict=True):
        assert largest(one, other) < TOLERANCE


def test_the_variant_table_needs_neither_keras_nor_tensorflow():
    code = (
        "import sys, cait_tf; cait_tf.VARIANTS; print({'keras', 'tensorflow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=GOLDEN.parents[1], capture_output=True,
                          text=True, check=True)  # fmt: skip
    assert done.stdout.strip() == "set()"
