import pickle
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from cait_tf import WeightsError, load_weights
from cait_tf.weights import official, timm
from tests.cait_tf import golden

URL = "https://dl.fbaipublicfiles.com/deit/S24_224.pth"


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="torch, an extra, is not installed")


@pytest.mark.usefixtures("torch")
def test_tensors_are_those_of_timms_file():
    golden.assert_same(official.read(golden.PTH), timm.read(golden.SAFETENSORS))


def test_a_bare_state_dict_is_read_too(torch, tmp_path):
    torch.save(torch.load(golden.PTH, weights_only=True)["model"], tmp_path / "bare.pth")
    assert set(official.read(tmp_path / "bare.pth")) == set(official.read(golden.PTH))


def test_half_precision_becomes_float32(torch, tmp_path):
    torch.save({"norm.weight": torch.ones(3, dtype=torch.bfloat16)}, tmp_path / "half.pth")
    assert official.read(tmp_path / "half.pth")["norm.weight"].dtype == np.float32


class Payload:
    """Pickles to a call: what an attacker would send."""

    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return Path.touch, (self.victim,)


def test_pickled_code_is_refused_and_not_run(torch, tmp_path):
    torch.save({"model": Payload(tmp_path / "victim")}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match=r"evil\.pth, expected a checkpoint that holds tensors"):
        official.read(tmp_path / "evil.pth")
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize(
    "content",
    [[1], {}, None, {"model": {"a": 1}}, {"model": [1]}, {"model": None}, {"epoch": 3}],
    ids=str,
)
def test_a_checkpoint_of_something_else_is_refused(content, torch, tmp_path):
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match="expected a state dict, alone or under 'model'"):
        official.read(tmp_path / "other.pth")


def test_what_a_strange_checkpoint_holds_is_said(torch, tmp_path):
    torch.save({"epoch": 3, "weights": {}}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other\.pth with epoch, weights, expected"):
        official.read(tmp_path / "other.pth")


def test_a_checkpoint_of_timms_training_script_is_read(torch, tmp_path):
    state = torch.load(golden.PTH, weights_only=True)["model"]
    torch.save({"epoch": 3, "arch": "cait", "state_dict": state}, tmp_path / "timm.pth")
    golden.assert_same(official.read(tmp_path / "timm.pth"), official.read(golden.PTH))


@pytest.mark.usefixtures("torch")
def test_refused_pickles_are_one_message_without_torchs_warnings(tmp_path, recwarn):
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Payload(tmp_path / "victim"), protocol=4))
    with pytest.raises(WeightsError, match="which is refused"):
        official.read(tmp_path / "plain.pth")
    assert not recwarn.list
    assert not (tmp_path / "victim").exists()


def test_names_that_are_no_strings_are_refused(torch, tmp_path):
    torch.save({1: torch.ones(2)}, tmp_path / "numbered.pth")
    with pytest.raises(WeightsError, match="expected a state dict"):
        official.read(tmp_path / "numbered.pth")


@pytest.mark.usefixtures("torch")
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
