"""Runs of a tiny untrained model, with and without a SavedModel, and some photographs."""

import json

import keras
import pytest
import tensorflow as tf
from omegaconf import OmegaConf

import cait_tf
from cait_finetune.export.saved_model import export_saved_model
from cait_finetune.runs.exports import WEIGHTS, weights_mark
from cait_finetune.runs.saved import SavedRun, read_run
from tests.cait_finetune.stand_ins import composed, encode, picture

NAMES = ["ant", "bee", "cat & dog"]
TEMPERATURE = 0.5


@pytest.fixture(scope="session")
def photos(tmp_path_factory):
    """Write three photographs of different shapes; return their folder."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(3):
        (folder / f"{number}.png").write_bytes(encode(picture(20 + number, 30, seed=number)))
    return folder


@pytest.fixture(scope="session")
def bare_run(tmp_path_factory):
    """Return the directory of a run without exports. The run has a calibration temperature."""
    directory = tmp_path_factory.mktemp("bare") / "run"
    config = composed("dataset=flowers", "model=cait_nano_32", "model.image_size=16")
    (directory / "checkpoints").mkdir(parents=True)
    OmegaConf.save(config, directory / "config.yaml")
    keras.utils.set_random_seed(0)
    model = cait_tf.create_model("cait_nano_32", num_classes=3, image_size=16)
    # At LayerScale's small initial values, images hardly change the output.
    for variable in model.weights:
        if variable.path.endswith("gamma"):
            variable.assign(2 * keras.ops.ones_like(variable))
    metadata = {"classes": "\n".join(NAMES)}
    cait_tf.save_weights(model, directory / "checkpoints" / "best.safetensors", metadata)
    (directory / "result.json").write_text(json.dumps({"temperature": TEMPERATURE}))
    return directory


@pytest.fixture(scope="session")
def saved_run(bare_run) -> SavedRun:
    return read_run(bare_run)


@pytest.fixture(scope="session")
def run(bare_run, saved_run, photos, tmp_path_factory):
    """Return a run with the same weights and a SavedModel, without a calibration temperature."""
    directory = tmp_path_factory.mktemp("exported") / "run"
    directory.mkdir()
    for name in ("config.yaml", "checkpoints"):
        (directory / name).symlink_to(bare_run / name)
    preprocessing = saved_run.build_preprocessing()
    samples = [(path.name, path.read_bytes()) for path in sorted(photos.iterdir())]
    (directory / "export").mkdir()
    export_saved_model(
        saved_run.build_model(saved_run.class_names),
        preprocessing,
        preprocessing.decode,
        NAMES,
        samples,
        directory / "export" / "saved_model",
    )
    record = {WEIGHTS: weights_mark(directory / "checkpoints" / "best.safetensors")}
    (directory / "export" / "exports.json").write_text(json.dumps({"saved_model": record}))
    return directory


class Mean:
    """Backend whose probabilities are the softmax of each image's mean red, green and blue."""

    class_names = ("red", "green", "blue")
    several = False

    def __init__(self):
        self.calls = []

    def __call__(self, files):
        self.calls.append(len(files))
        images = [tf.io.decode_image(data, channels=3).numpy() for data in files]
        return tf.nn.softmax([image.mean((0, 1)) / 255 for image in images]).numpy()
