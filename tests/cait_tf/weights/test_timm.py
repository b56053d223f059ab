import huggingface_hub
import ml_dtypes
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from cait_tf import CaiTBackbone, WeightsError, load_weights, save_weights
from cait_tf.weights import timm
from tests.cait_tf import golden

HUB_ID = "timm/cait_s24_224.fb_dist_in1k"


def layout(path):
    """Return shape and dtype of every tensor of a file."""
    return {name: (array.shape, array.dtype) for name, array in load_file(path).items()}


def test_tensors_arrive_in_keras_layout():
    theirs, ours = load_file(golden.SAFETENSORS), timm.read(golden.SAFETENSORS)
    assert set(ours) == set(theirs)
    np.testing.assert_array_equal(ours["head.weight"], theirs["head.weight"].T)
    assert ours["patch_embed.proj.weight"].shape == (16, 16, 3, 96)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
def test_names_of_a_wrapped_model_are_read(prefix, tmp_path):
    tensors = load_file(golden.SAFETENSORS)
    wrapped = {f"{prefix}{name}": array for name, array in tensors.items()}
    save_file(wrapped, tmp_path / "wrapped.safetensors")
    golden.assert_same(timm.read(tmp_path / "wrapped.safetensors"), timm.read(golden.SAFETENSORS))


def test_a_saved_file_is_one_that_timm_takes(golden_classifier, tmp_path):
    path = tmp_path / "model.safetensors"
    save_weights(golden_classifier, path)
    assert layout(path) == layout(golden.SAFETENSORS)
    golden.assert_same(load_file(path), load_file(golden.SAFETENSORS))


def test_a_saved_file_records_format_grid_and_checksum(golden_classifier, tmp_path):
    path = tmp_path / "model.safetensors"
    save_weights(golden_classifier, path, metadata={"dataset": "flowers"})
    with safe_open(path, "np") as file:
        metadata = file.metadata()
    assert len(bytes.fromhex(metadata.pop("cait_tf.sha256"))) == 32
    assert metadata == {"format": "pt", "dataset": "flowers", "cait_tf.grid": "4x4"}


def test_saving_and_loading_is_bit_equal(tmp_path):
    saved, loaded = golden.classifier(), golden.classifier()
    save_weights(saved, tmp_path / "model.safetensors")
    load_weights(loaded, tmp_path / "model.safetensors")
    golden.assert_same(golden.values(loaded), golden.values(saved))


def test_a_backbone_that_is_not_built_yet_is_saved_whole(tmp_path):
    save_weights(CaiTBackbone(**golden.GEOMETRY), tmp_path / "model.safetensors")
    assert len(load_file(tmp_path / "model.safetensors")) == 96


def test_saving_makes_the_directory_and_leaves_nothing_else(golden_classifier, tmp_path):
    save_weights(golden_classifier, tmp_path / "new" / "model.safetensors")
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["model.safetensors"]


def test_a_saved_file_can_be_read_by_whom_any_new_file_can(golden_classifier, tmp_path):
    (tmp_path / "plain").touch()
    save_weights(golden_classifier, tmp_path / "a.safetensors")
    assert (tmp_path / "a.safetensors").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_failed_save_keeps_the_old_file(golden_classifier, tmp_path, monkeypatch):
    def full_disk(*_, **__):
        raise OSError("no space left on device")

    path = tmp_path / "model.safetensors"
    path.write_bytes(b"old")
    monkeypatch.setattr("safetensors.numpy.save_file", full_disk)
    with pytest.raises(OSError, match="no space"):
        save_weights(golden_classifier, path)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [(path.name, b"old")]


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_other_precisions_are_read_too(dtype, tmp_path):
    tensors = {name: a.astype(dtype) for name, a in load_file(golden.SAFETENSORS).items()}
    save_file(tensors, tmp_path / "other.safetensors")
    model = golden.classifier()
    load_weights(model, tmp_path / "other.safetensors")
    expected = timm.read(golden.SAFETENSORS)["head.weight"].astype(dtype).astype("float32")
    np.testing.assert_array_equal(golden.values(model)["head.weight"], expected)


@pytest.mark.parametrize("kept", [0, 4, 5000, -1], ids=lambda kept: f"{kept} bytes")
def test_a_truncated_file_is_refused(kept, tmp_path):
    path = tmp_path / "cut.safetensors"
    path.write_bytes(golden.SAFETENSORS.read_bytes()[:kept])
    with pytest.raises(WeightsError, match=r"cut\.safetensors, expected a safetensors file"):
        timm.read(path)


@pytest.fixture
def empty_cache(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)


@pytest.mark.usefixtures("empty_cache")
def test_without_a_network_the_three_other_ways_are_named(monkeypatch):
    def unreachable(*_, **__):
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    with pytest.raises(WeightsError) as error:
        load_weights(golden.classifier(), HUB_ID)
    message = str(error.value)
    assert HUB_ID in message
    assert "Name or service not known" in message
    for way in (".safetensors", ".pth", "SavedModel"):
        assert way in message


@pytest.mark.usefixtures("empty_cache")
def test_a_hub_repository_is_downloaded_and_loaded(monkeypatch, images):
    asked = []

    def download(*arguments, **_):
        asked.append(arguments)
        return str(golden.SAFETENSORS)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda *_, **__: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    model = golden.classifier()
    report = load_weights(model, HUB_ID)
    assert asked == [(HUB_ID, "model.safetensors"), (HUB_ID, "config.json")]
    assert report.source == HUB_ID
    assert "Hugging Face Hub" in report.format
    golden.assert_near(model(images), golden.arrays("forward")["logits"])


def test_a_cached_hub_file_needs_no_network(monkeypatch):
    def unreachable(*_, **__):
        raise AssertionError("asked the network")

    def cached(hub_id, *_):
        assert hub_id == HUB_ID
        return str(golden.SAFETENSORS)

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", cached)
    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    assert timm.download(HUB_ID) == golden.SAFETENSORS
    assert timm.download(f"hf_hub:{HUB_ID}") == golden.SAFETENSORS


def test_a_changed_bit_is_noticed(tmp_path):
    path = tmp_path / "model.safetensors"
    tensors = {"norm.weight": np.ones(8, "float32"), "norm.bias": np.zeros(8, "float32")}
    timm.write(path, tensors)
    assert timm.read(path).keys() == tensors.keys()
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"model\.safetensors.*its checksum does not match"):
        timm.read(path)


def test_weights_in_bfloat16_have_a_checksum_too(tmp_path):
    tensors = {"norm.weight": np.ones(8, ml_dtypes.bfloat16)}
    timm.write(tmp_path / "model.safetensors", tensors)
    assert timm.read(tmp_path / "model.safetensors")["norm.weight"].dtype == ml_dtypes.bfloat16
