import errno
import resource
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from cait_finetune.errors import UserError
from cait_finetune.train.checkpoint import Checkpoints
from tests.cait_finetune.tiny import snapshot, tiny_model


@pytest.fixture
def checkpoints(tmp_path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints", {"model": "tiny", "classes": "a\nb"})


@pytest.fixture(scope="module")
def models():
    return tiny_model(seed=1), tiny_model(seed=2)


@contextmanager
def files_of_at_most(size: int):
    """The system refuses to let a file grow beyond `size` bytes, as a full disk would."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_names(checkpoints, tmp_path):
    assert checkpoints.best == tmp_path / "checkpoints" / "best.safetensors"
    assert checkpoints.last == tmp_path / "checkpoints" / "last.safetensors"


def test_what_is_loaded_is_what_was_saved_to_the_bit(checkpoints, models):
    first, second = models
    saved, own = snapshot(first), snapshot(second)
    checkpoints.save(first, checkpoints.best, 3)
    checkpoints.load(second, checkpoints.best)
    try:
        for path, value in snapshot(second).items():
            assert value.tobytes() == saved[path].tobytes(), path
        assert any(own[path].tobytes() != saved[path].tobytes() for path in saved)
    finally:
        for variable in second.weights:
            variable.assign(own[variable.path])


def test_metadata_and_timms_names(checkpoints, models):
    checkpoints.save(models[0], checkpoints.last, 12)
    with safetensors.safe_open(checkpoints.last, "numpy") as file:
        metadata = file.metadata()
        stated = {"format": "pt", "model": "tiny", "classes": "a\nb", "epoch": "12"}
        assert stated.items() <= metadata.items()
        assert len(file.keys()) == len(models[0].weights)
        head = file.get_tensor("head.weight")
    np.testing.assert_array_equal(head, np.array(models[0].head.kernel).T)


def test_saving_again_replaces(checkpoints, models):
    for epoch, model in enumerate(models, start=1):
        checkpoints.save(model, checkpoints.last, epoch)
    with safetensors.safe_open(checkpoints.last, "numpy") as file:
        assert file.metadata()["epoch"] == "2"
        head = file.get_tensor("head.weight")
    np.testing.assert_array_equal(head, np.array(models[1].head.kernel).T)
    assert [path.name for path in checkpoints.directory.iterdir()] == ["last.safetensors"]


def names_in(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_a_full_disk_leaves_the_old_file_and_no_part_of_the_new(checkpoints, models):
    checkpoints.save(models[0], checkpoints.last, 1)
    old = checkpoints.last.read_bytes()
    with (
        files_of_at_most(len(old) // 2),
        pytest.raises(
            UserError, match=r"hydra\.run\.dir: got .*epoch 2 cannot be written"
        ) as error,
    ):
        checkpoints.save(models[1], checkpoints.last, 2)
    assert checkpoints.last.read_bytes() == old
    assert names_in(checkpoints.directory) == ["last.safetensors"]
    assert str(checkpoints.last) in str(error.value)
    assert "model.weights=" in str(error.value)
    checkpoints.save(models[1], checkpoints.last, 2)  # and goes on when there is room again
    assert checkpoints.last.read_bytes() != old


def test_a_full_disk_at_the_first_checkpoint(checkpoints, models):
    with files_of_at_most(4096), pytest.raises(UserError) as error:
        checkpoints.save(models[0], checkpoints.last, 1)
    assert names_in(checkpoints.directory) == []
    assert "still there" not in str(error.value)


def test_an_os_error_after_half_a_file(checkpoints, models, monkeypatch):
    checkpoints.save(models[0], checkpoints.best, 1)
    old = checkpoints.best.read_bytes()

    def save_file(tensors, filename, metadata=None):
        Path(filename).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(safetensors.numpy, "save_file", save_file)
    with pytest.raises(UserError, match="No space left on device"):
        checkpoints.save(models[1], checkpoints.best, 2)
    assert checkpoints.best.read_bytes() == old
    assert names_in(checkpoints.directory) == ["best.safetensors"]
