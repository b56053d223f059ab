"""Weights for timm, given to timm."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

import cait_tf
from cait_finetune.export import timm as exporter
from cait_finetune.export.subject import Subject
from tests.cait_finetune.export.subjects import (
    NAMES,
    evidence_of,
    lively_subject,
    preprocessing,
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    evidence = evidence_of(lively_subject())
    directory = tmp_path_factory.mktemp("export") / "timm"
    return evidence, directory, exporter.export(evidence.subject, evidence, directory)


def test_the_temperature_is_in_the_head_and_the_model_as_it_was(exported):
    evidence, directory, done = exported
    assert done["difference"] <= 1e-4
    model = evidence.subject.model
    written = load_file(directory / "model.safetensors")
    np.testing.assert_allclose(written["head.weight"].T * 1.7, model.head.kernel, rtol=1e-6)
    np.testing.assert_allclose(written["head.bias"] * 1.7, model.head.bias, rtol=1e-6)
    np.testing.assert_array_equal(written["norm.weight"], model.backbone.norm.gamma)


def test_the_configuration_is_timms(exported):
    config = json.loads((exported[1] / "config.json").read_text())
    assert config["label_names"] == NAMES
    assert config["num_classes"] == 4
    assert config["pretrained_cfg"]["input_size"] == [3, 32, 32]
    assert config["pretrained_cfg"]["crop_pct"] == 0.875
    assert config["pretrained_cfg"]["crop_mode"] == "center"


def test_timm_gives_calibrated_probabilities(exported):
    timm = pytest.importorskip("timm")
    torch = pytest.importorskip("torch")
    evidence, directory, done = exported
    assert done["checked_by"] == "timm"
    # As it does for "hf-hub:USER/NAME", whose files are these two.
    model = timm.create_model(f"local-dir:{directory}", pretrained=True).eval()
    assert model.num_classes == 4
    images = torch.from_numpy(evidence.images.numpy().transpose(0, 3, 1, 2).copy())
    with torch.inference_mode():
        got = model(images).softmax(-1).numpy()
    np.testing.assert_allclose(got, evidence.subject.probabilities(evidence.logits), atol=1e-4)
    data = timm.data.resolve_data_config({}, model=model)
    assert (data["crop_pct"], data["interpolation"]) == (0.875, "bicubic")
    assert data["input_size"] == (3, 32, 32)


def test_without_timm_it_is_read_back(tmp_path, monkeypatch):
    monkeypatch.setattr(exporter, "find_spec", lambda name: None)
    evidence = evidence_of(lively_subject())
    done = exporter.export(evidence.subject, evidence, tmp_path / "timm")
    assert done["checked_by"] == "cait_tf"
    assert done["difference"] <= 1e-4


def test_a_published_variant_is_called_by_its_name_whatever_the_size():
    model = cait_tf.create_model("cait_xxs24_224", num_classes=4, image_size=32)
    way = preprocessing(resize_mode="pad")
    config = exporter.hub_config(Subject(model, way, NAMES, "cait_xxs24_224"))
    assert config["architecture"] == "cait_xxs24_224"
    assert config["model_args"] == {"img_size": 32}
    assert "crop_mode" not in config["pretrained_cfg"]  # timm cannot pad with black
