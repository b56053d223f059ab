import argparse
import importlib
import pickle
import sys
from pathlib import Path, PosixPath
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from cait_tf import WeightsError, load_weights
from cait_tf.weights import official, timm
from tests.alone import run_alone
from tests.cait_tf import golden

URL = "https://dl.fbaipublicfiles.com/deit/S24_224.pth"


@pytest.fixture
def torch():
    return importlib.import_module("torch")


AFTER_TENSORFLOW = """
import sys
import tensorflow
from cait_tf.weights import official

tensors = official.read(sys.argv[1])
official.write(sys.argv[2], tensors, (2, 2), ["ant", "bee"])
assert official.class_names(sys.argv[2]) == ("ant", "bee")
print([name for name in ("triton", "torch._dynamo", "torchvision") if name in sys.modules])
"""


@pytest.mark.needs("torch")
def test_files_are_read_and_written_without_triton(tmp_path):
    """triton crashes in a process that has loaded TensorFlow."""
    assert run_alone(AFTER_TENSORFLOW, golden.PTH, tmp_path / "again.pth") == "[]\n"


@pytest.mark.needs("torch")
def test_tensors_are_those_of_timms_file():
    golden.assert_same(official.read(golden.PTH), timm.read(golden.SAFETENSORS))


@pytest.mark.needs("torch")
def test_a_bare_state_dict_is_read_too(torch, tmp_path):
    torch.save(torch.load(golden.PTH, weights_only=True)["model"], tmp_path / "bare.pth")
    assert set(official.read(tmp_path / "bare.pth")) == set(official.read(golden.PTH))


@pytest.mark.needs("torch")
def test_half_precision_becomes_float32(torch, tmp_path):
    torch.save({"norm.weight": torch.ones(3, dtype=torch.bfloat16)}, tmp_path / "half.pth")
    assert official.read(tmp_path / "half.pth")["norm.weight"].dtype == np.float32


class Payload:
    """An object whose pickle calls a function, as an attack would."""

    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return Path.touch, (self.victim,)


@pytest.mark.needs("torch")
def test_pickled_code_is_refused_and_not_run(torch, tmp_path):
    torch.save({"model": Payload(tmp_path / "victim")}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match=r"evil\.pth, expected a checkpoint that holds tensors"):
        official.read(tmp_path / "evil.pth")
    assert not (tmp_path / "victim").exists()


@pytest.mark.needs("torch")
@pytest.mark.parametrize(
    "content",
    [[1], {}, None, {"model": {"a": 1}}, {"model": [1]}, {"model": None}, {"epoch": 3}],
    ids=str,
)
def test_a_checkpoint_of_something_else_is_refused(content, torch, tmp_path):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="expected a state dict, alone or under 'model'"):
        official.read(tmp_path / "other.pth")


@pytest.mark.needs("torch")
def test_the_error_lists_the_keys_of_an_unknown_checkpoint(torch, tmp_path):
    torch.save({"epoch": 3, "weights": {}}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other\.pth with epoch, weights, expected"):
        official.read(tmp_path / "other.pth")


@pytest.fixture
def training(torch):
    """Checkpoints as training scripts write them, by file name. The average is the golden model."""
    average = {
        name.removeprefix("module."): tensor
        for name, tensor in torch.load(golden.PTH, weights_only=True)["model"].items()
    }
    raw = {name: tensor + 1 for name, tensor in average.items()}
    # The state of AdamW. Its class would import triton, which crashes after TensorFlow.
    moments = {"step": torch.tensor(1.0), "exp_avg": torch.ones(3), "exp_avg_sq": torch.ones(3)}
    group = {"lr": 1e-3, "betas": (0.9, 0.999), "foreach": None, "params": [0]}
    beside = {
        "epoch": 3,
        "args": argparse.Namespace(lr=np.float64(1e-3), seed=np.int64(1), output=PosixPath("out")),
        "optimizer": {"state": {0: moments}, "param_groups": [group]},
        "metric": np.float32(0.5),
    }
    wrapped = {f"module.{name}": tensor for name, tensor in average.items()}
    compiled = {f"_orig_mod.{name}": tensor for name, tensor in wrapped.items()}
    return {
        "timm.pth.tar": {**beside, "state_dict": raw, "state_dict_ema": average},
        "deit.pth": {**beside, "model": raw, "model_ema": average, "scaler": {}},
        "no_average.pth": {**beside, "model": average, "model_ema": None},
        "swa.pt": {"model": raw, "model_ema": {**wrapped, "n_averaged": torch.tensor(2)}},
        "compiled.pth": {**beside, "state_dict": compiled},
        "compiled.bin": {f"module.{name}": tensor for name, tensor in compiled.items()},
        "lightning.ckpt": {"state_dict": {f"model.{name}": t for name, t in average.items()}},
        "parameters.pt": {name: torch.nn.Parameter(tensor) for name, tensor in average.items()},
    }


FILES = ("timm.pth.tar", "deit.pth", "no_average.pth", "swa.pt", "compiled.pth", "compiled.bin",
         "lightning.ckpt", "parameters.pt")  # fmt: skip


@pytest.mark.needs("torch")
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", FILES)
def test_a_training_checkpoint_is_read(name, zipped, training, torch, tmp_path):
    torch.save(training[name], tmp_path / name, _use_new_zipfile_serialization=zipped)
    golden.assert_same(official.read(tmp_path / name), official.read(golden.PTH))


@pytest.mark.needs("torch")
@pytest.mark.parametrize("name", FILES)
def test_the_report_names_the_loaded_state_dict(name, training, torch, tmp_path):
    torch.save(training[name], tmp_path / name)
    report = load_weights(golden.classifier(), tmp_path / name)
    notes = {
        "timm.pth.tar": ("state_dict_ema of the checkpoint; weights_key selects state_dict",),
        "deit.pth": ("model_ema of the checkpoint; weights_key selects model",),
        "swa.pt": ("model_ema of the checkpoint; weights_key selects model",),
    }
    assert (len(report.loaded), report.format) == (98, "PyTorch checkpoint")
    assert report.notes == notes.get(name, ())


@pytest.mark.needs("torch")
def test_a_key_chooses_the_raw_weights(training, torch, tmp_path):
    torch.save(training["timm.pth.tar"], tmp_path / "timm.pth.tar")
    model = golden.classifier()
    report = load_weights(model, tmp_path / "timm.pth.tar", weights_key="state_dict")
    assert report.notes == ("state_dict of the checkpoint",)
    expected = official.read(golden.PTH)["norm.weight"] + 1
    np.testing.assert_array_equal(golden.values(model)["norm.weight"], expected)
    with pytest.raises(WeightsError, match="expected state_dict, state_dict_ema"):
        load_weights(model, tmp_path / "timm.pth.tar", weights_key="model")


@pytest.mark.needs("torch")
def test_read_tensors_do_not_change_with_the_file(training, torch, tmp_path):
    path = tmp_path / "deit.pth"
    torch.save(training["deit.pth"], path)
    read = official.read(path)
    path.write_bytes(bytes(path.stat().st_size))
    golden.assert_same(read, official.read(golden.PTH))


def test_a_key_without_a_checkpoint_is_refused():
    with pytest.raises(
        WeightsError, match=r"weights_key: got .model. with .*safetensors, expected"
    ):
        load_weights(golden.classifier(), golden.SAFETENSORS, weights_key="model")


class Settings:
    """A class of the script that wrote the checkpoint."""


@pytest.mark.needs("torch")
def test_a_class_that_is_refused_is_named(torch, tmp_path):
    state = torch.load(golden.PTH, weights_only=True)["model"]
    torch.save({"model": state, "args": Settings()}, tmp_path / "settings.pth")
    with pytest.raises(WeightsError, match=r"it holds \S+test_official\.Settings(.|\n)*save its"):
        official.read(tmp_path / "settings.pth")


def test_an_old_torch_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(__version__="2.5.1+cpu"))
    with pytest.raises(ImportError, match=r"needs torch 2\.6, got 2\.5\.1\+cpu: pip install -U"):
        official.read(golden.PTH)


@pytest.mark.needs("torch")
def test_refused_pickles_are_one_message_without_torchs_warnings(tmp_path, recwarn):
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Payload(tmp_path / "victim"), protocol=4))
    with pytest.raises(WeightsError, match="which is refused"):
        official.read(tmp_path / "plain.pth")
    assert not recwarn.list
    assert not (tmp_path / "victim").exists()


@pytest.mark.needs("torch")
def test_names_that_are_no_strings_are_refused(torch, tmp_path):
    torch.save({1: torch.ones(2)}, tmp_path / "numbered.pth")
    with pytest.raises(WeightsError, match="expected a state dict"):
        official.read(tmp_path / "numbered.pth")


@pytest.mark.needs("torch")
def test_a_truncated_file_is_refused(tmp_path):
    path = tmp_path / "cut.pth"
    path.write_bytes(golden.PTH.read_bytes()[:10_000])
    with pytest.raises(WeightsError, match=r"cut\.pth, expected a checkpoint"):
        official.read(path)


def test_without_torch_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"pip install 'cait-finetune\[torch\]'"):
        load_weights(golden.classifier(), golden.PTH)


def test_a_failed_download_names_the_three_other_ways(monkeypatch):
    def unreachable(**_):
        raise Exception(f"URL fetch failure on {URL}: None -- Name or service not known")

    monkeypatch.setattr(keras.utils, "get_file", unreachable)
    with pytest.raises(WeightsError) as error:
        official.download(URL)
    message = str(error.value)
    assert message.startswith(f"weights: got {URL}")
    for way in ("Hugging Face Hub", ".safetensors", "SavedModel"):
        assert way in message


def test_a_download_ends_in_keras_cache(monkeypatch, tmp_path):
    def fetch(origin, cache_subdir):
        assert origin == URL
        return str(tmp_path / cache_subdir / "S24_224.pth")

    monkeypatch.setattr(keras.utils, "get_file", fetch)
    assert official.download(URL) == tmp_path / "cait_tf" / "S24_224.pth"
