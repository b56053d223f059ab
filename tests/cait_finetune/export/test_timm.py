"""timm loads the exported weights."""

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

import cait_tf
from cait_finetune.errors import UserError
from cait_finetune.export import timm as exporter
from cait_finetune.export.exported_model import ExportedModel
from tests.alone import run_alone
from tests.cait_finetune.export.exported_models import (
    NAMES,
    lively_model,
    preprocessing,
    validation_of,
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    validation = validation_of(lively_model())
    directory = tmp_path_factory.mktemp("export") / "timm"
    return validation, directory, exporter.export(validation.exported, validation, directory)


def test_the_head_is_divided_by_the_temperature_in_the_file_only(exported):
    validation, directory, done = exported
    assert done["difference"] <= 1e-4
    model = validation.exported.model
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


# timm loads "hf-hub:USER/NAME" in the same way, from the same two files.
FROM_THE_FOLDER = """
import json
import sys
import numpy as np
import timm
import torch

directory, images = sys.argv[1:]
model = timm.create_model(f"local-dir:{directory}", pretrained=True).eval()
with torch.inference_mode():
    probabilities = model(torch.from_numpy(np.load(images))).softmax(-1).tolist()
data = timm.data.resolve_data_config({}, model=model)
print(json.dumps({"classes": model.num_classes, "probabilities": probabilities, "data": data}))
"""


@pytest.mark.needs("timm")
def test_timm_gives_calibrated_probabilities(exported, tmp_path):
    validation, directory, done = exported
    assert (done["checked_by"], done["notes"]) == ("timm", [])
    np.save(tmp_path / "images.npy", validation.images.numpy().transpose(0, 3, 1, 2))
    got = json.loads(run_alone(FROM_THE_FOLDER, directory, tmp_path / "images.npy"))
    assert got["classes"] == 4
    expected = validation.exported.values(validation.logits)
    np.testing.assert_allclose(got["probabilities"], expected, atol=1e-4)
    assert (got["data"]["crop_pct"], got["data"]["interpolation"]) == (0.875, "bicubic")
    assert got["data"]["input_size"] == [3, 32, 32]


@pytest.mark.slow
@pytest.mark.parametrize(
    "checked_by", ["cait_tf", pytest.param("timm", marks=pytest.mark.needs("timm"))]
)
def test_images_that_are_higher_than_wide(checked_by, tmp_path, monkeypatch):
    if checked_by == "cait_tf":
        monkeypatch.setattr(exporter, "find_spec", lambda name: None)
    validation = validation_of(lively_model(image_size=(48, 32)))
    done = exporter.export(validation.exported, validation, tmp_path / "timm")
    assert (done["checked_by"], done["notes"]) == (checked_by, [])
    assert done["difference"] <= 1e-4
    config = json.loads((tmp_path / "timm" / "config.json").read_text())
    assert config["model_args"]["img_size"] == [48, 32]
    assert config["pretrained_cfg"]["input_size"] == [3, 48, 32]


SEGFAULT = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"


@pytest.fixture
def another_timm(tmp_path, monkeypatch):
    """Return a function that puts modules called timm and torch before the installed ones."""

    def put(timm, torch=""):
        for name, code in (("timm", timm), ("torch", torch)):
            (tmp_path / "first").mkdir(exist_ok=True)
            (tmp_path / "first" / f"{name}.py").write_text(code)
        monkeypatch.syspath_prepend(tmp_path / "first")

    return put


@pytest.mark.slow
@pytest.mark.parametrize(
    ("timm", "torch", "why"),
    [
        (SEGFAULT, "", "its process ended with SIGSEGV"),
        ("", SEGFAULT, "its process ended with SIGSEGV"),
        ("raise OSError('libc10.so: no such file')", "", "OSError: libc10.so: no such file"),
        ("", "import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
    ],
)
def test_a_timm_that_does_not_run_is_replaced(tmp_path, another_timm, timm, torch, why):
    another_timm(timm, torch)
    validation = validation_of(lively_model())
    done = exporter.export(validation.exported, validation, tmp_path / "timm")
    assert done["checked_by"] == "cait_tf"
    assert done["notes"] == [f"timm did not run ({why}): cait_tf checked the file instead"]
    assert done["difference"] <= 1e-4


@pytest.mark.slow
def test_weights_that_timm_refuses_are_no_export(tmp_path, another_timm):
    another_timm(
        "import sys\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
        "def create_model(**_): raise RuntimeError('size mismatch for head.weight')\n"
    )
    validation = validation_of(lively_model())
    with pytest.raises(
        UserError, match=r"timm does not load \(RuntimeError: size mismatch for head"
    ):
        exporter.export(validation.exported, validation, tmp_path / "timm")
    assert not (tmp_path / "timm").exists()


@pytest.mark.slow
def test_without_timm_the_file_is_checked_with_cait_tf(tmp_path, monkeypatch):
    monkeypatch.setattr(exporter, "find_spec", lambda name: None)
    validation = validation_of(lively_model())
    done = exporter.export(validation.exported, validation, tmp_path / "timm")
    assert done["checked_by"] == "cait_tf"
    assert done["difference"] <= 1e-4


@pytest.mark.slow
def test_a_published_variant_is_called_by_its_name_whatever_the_size():
    model = cait_tf.create_model("cait_xxs24_224", num_classes=4, image_size=32)
    way = preprocessing(resize_mode="pad")
    config = exporter.hub_config(ExportedModel(model, way, NAMES, "cait_xxs24_224"), {})
    assert config["architecture"] == "cait_xxs24_224"
    assert config["model_args"] == {"img_size": 32}
    assert "crop_mode" not in config["pretrained_cfg"]  # no crop mode of timm equals "pad"
