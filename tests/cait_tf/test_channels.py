"""Models of images with any number of channels, and RGB weights adapted to them."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

import cait_tf
from cait_tf.convert import convert
from cait_tf.weights.channels import PATCH_KERNEL, adapted_kernel
from tests.alone import run_alone
from tests.cait_tf.golden import GOLDEN, SAFETENSORS, classifier, values

SMALL = {"image_size": 32, "embed_dim": 24, "depth": 1, "num_heads": 2, "num_classes": 3}


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 13])
def test_the_kernel_equals_timms(channels):
    # The file has the results of timm's adapt_input_conv in torch's layout (out, in, rows, columns).
    golden = json.loads((GOLDEN / "adapt_input_conv.json").read_text())
    rgb, expected = (
        np.array(one, "float32").transpose(2, 3, 1, 0)
        for one in (golden["rgb"], golden["expected"][str(channels)])
    )
    np.testing.assert_allclose(adapted_kernel(rgb, channels), expected, atol=1e-6)


TIMMS = """
import json, sys
import torch
from timm.models import adapt_input_conv

golden = json.load(open(sys.argv[1]))
rgb = torch.tensor(golden["rgb"])
for channels, expected in golden["expected"].items():
    difference = adapt_input_conv(int(channels), rgb) - torch.tensor(expected)
    print(channels, float(difference.abs().max()) < 1e-6)
"""


@pytest.mark.needs("timm")
def test_the_golden_file_has_the_results_of_timm():
    found = dict(
        line.split() for line in run_alone(TIMMS, GOLDEN / "adapt_input_conv.json").splitlines()
    )
    assert found == dict.fromkeys(("1", "2", "3", "4", "13"), "True")


@pytest.mark.slow
def test_rgb_weights_load_into_other_channels():
    model = classifier(in_channels=4)
    report = cait_tf.load_weights(model, SAFETENSORS)
    source = cait_tf.weights.timm.read(SAFETENSORS)[PATCH_KERNEL]
    kernel = values(model)[PATCH_KERNEL]
    np.testing.assert_allclose(kernel[:, :, 3], source[:, :, 0] * 0.75, atol=1e-6)
    assert any("from 3 channels to 4" in note for note in report.notes)
    assert model(np.zeros((1, 64, 64, 4), "float32")).shape == (1, 7)


def test_the_configuration_keeps_the_channels():
    model = cait_tf.CaiTClassifier(in_channels=2, **SMALL)
    again = cait_tf.CaiTClassifier.from_config(model.get_config())
    assert again.backbone.in_channels == 2
    old = {key: value for key, value in model.get_config().items() if key != "in_channels"}
    assert cait_tf.CaiTClassifier.from_config(old).backbone.in_channels == 3


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".safetensors", ".weights.h5", ".keras"])
def test_files_keep_the_channels(tmp_path, ending):
    model = cait_tf.CaiTClassifier(in_channels=5, **SMALL)
    cait_tf.save_weights(model, tmp_path / "model.safetensors")
    convert(tmp_path / "model.safetensors", path := tmp_path / f"other{ending}")
    other = cait_tf.CaiTClassifier(in_channels=5, **SMALL)
    report = cait_tf.load_weights(other, path)
    np.testing.assert_array_equal(values(other)[PATCH_KERNEL], values(model)[PATCH_KERNEL])
    assert not any("channels" in note for note in report.notes)


def test_other_channels_are_refused(tmp_path):
    model = cait_tf.CaiTClassifier(in_channels=5, **SMALL)
    cait_tf.save_weights(model, path := tmp_path / "model.safetensors")
    other = cait_tf.CaiTClassifier(in_channels=4, **SMALL)
    with pytest.raises(
        cait_tf.WeightsError, match="has 5 channels, expected weights of 4 channels"
    ):
        cait_tf.load_weights(other, path)
    one = cait_tf.CaiTClassifier(in_channels=1, **SMALL)
    with pytest.raises(cait_tf.WeightsError, match="expected weights of 1 channel, or of 3"):
        cait_tf.load_weights(one, path)
    with pytest.raises(cait_tf.WeightsError, match="has 5 channels"):
        cait_tf.load_weights(cait_tf.CaiTClassifier(**SMALL), path)
    with pytest.raises(cait_tf.CaiTError, match="5 channels, expected 3, as in every SavedModel"):
        cait_tf.collection.write_saved_model(model, tmp_path / "saved")


@pytest.mark.parametrize("channels", [0, 2.5])
def test_a_wrong_number_is_refused(channels):
    with pytest.raises(cait_tf.CaiTError, match="in_channels: got"):
        cait_tf.CaiTBackbone(in_channels=channels, image_size=32)


def test_images_of_other_channels_are_refused():
    model = cait_tf.CaiTClassifier(in_channels=2, **SMALL)
    with pytest.raises(cait_tf.CaiTError, match=r"expected \(B, 32, 32, 2\)"):
        model(np.zeros((1, 32, 32, 3), "float32"))


def image_model(channels=2, **changes):
    settings = {"crop_pct": 1.0, "interpolation": "bicubic", "mean": [0.5] * channels,
                "std": [0.25] * channels}  # fmt: skip
    inner = cait_tf.CaiTClassifier(in_channels=channels, **SMALL)
    return cait_tf.ImageClassifier(inner, ["a", "b", "c"], **{**settings, **changes})


def test_pixels_are_resized_as_in_mode_f():
    from PIL import Image

    bands = np.random.default_rng(0).normal(300.0, 100.0, (48, 48, 2)).astype("float32")
    got = keras.ops.convert_to_numpy(image_model().preprocess(bands[None]))[0]
    for band in range(2):
        resized = Image.fromarray(bands[..., band]).resize((32, 32), Image.Resampling.BICUBIC)
        np.testing.assert_allclose(got[..., band], (np.asarray(resized) - 0.5) / 0.25, rtol=1e-4)


@pytest.mark.slow
def test_the_pixel_model_is_read_again_and_refuses_others(tmp_path):
    model = image_model()
    images = np.random.default_rng(0).random((1, 40, 36, 2)).astype("float32")
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again(images), model(images), atol=1e-6)
    with pytest.raises(cait_tf.CaiTError, match=r"got uint8 .* expected float32"):
        model((images * 255).astype("uint8"))
    with pytest.raises(cait_tf.CaiTError, match="mean: got 3 numbers, expected 2"):
        image_model(mean=[0.5] * 3, std=[0.5] * 3)
    with pytest.raises(cait_tf.CaiTError, match="std: got 1 numbers, expected 2"):
        image_model(std=[0.5])


@pytest.mark.parametrize("channels", [2, 3])
def test_an_image_without_a_batch_axis_is_named(channels):
    image = np.zeros((9, 9, channels), "float32" if channels == 2 else "uint8")
    with pytest.raises(
        cait_tf.CaiTError,
        match=rf"got shape \(9, 9, {channels}\), expected \(B, h, w, {channels}\)",
    ) as caught:
        image_model(channels).classify(image)
    assert "images[None]" in str(caught.value)
    assert len(image_model(channels).classify(image[None])["probability"]) == 1
