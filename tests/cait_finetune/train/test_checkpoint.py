import errno
import resource
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy

import cait_tf
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
    """Limit every file to `size` bytes, to imitate a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_checkpoints_are_named_best_and_last(checkpoints, tmp_path):
    assert checkpoints.best == tmp_path / "checkpoints" / "best.safetensors"
    assert checkpoints.last == tmp_path / "checkpoints" / "last.safetensors"


def test_loaded_weights_equal_saved_weights_bit_for_bit(checkpoints, models):
    first, second = models
    saved, own = snapshot(first), snapshot(second)
    checkpoints.save(first, checkpoints.best, 3)
    cait_tf.load_weights(second, checkpoints.best)
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
    with files_of_at_most(len(old) // 2), pytest.raises(OSError, match="File too large") as error:
        checkpoints.save(models[1], checkpoints.last, 2)
    assert checkpoints.last.read_bytes() == old
    assert names_in(checkpoints.directory) == ["last.safetensors"]
    assert error.value.filename == str(checkpoints.last)
    checkpoints.save(models[1], checkpoints.last, 2)  # saving works when there is space again
    assert checkpoints.last.read_bytes() != old


def test_a_full_disk_at_the_first_checkpoint(checkpoints, models):
    with files_of_at_most(4096), pytest.raises(OSError, match="File too large"):
        checkpoints.save(models[0], checkpoints.last, 1)
    assert names_in(checkpoints.directory) == []


def test_an_os_error_after_half_a_file(checkpoints, models, monkeypatch):
    checkpoints.save(models[0], checkpoints.best, 1)
    old = checkpoints.best.read_bytes()

    def save_file(tensors, filename, metadata=None):
        Path(filename).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(safetensors.numpy, "save_file", save_file)
    with pytest.raises(OSError, match="No space left on device"):
        checkpoints.save(models[1], checkpoints.best, 2)
    assert checkpoints.best.read_bytes() == old
    assert names_in(checkpoints.directory) == ["best.safetensors"]


ARRAYS = {
    "model/a": np.arange(6, dtype="float32").reshape(2, 3),
    "train/step": np.asarray(np.int64(7)),
    "train/nothing": np.zeros((0, 3), "float32"),
}
PROGRESS = {"step": 7, "best_score": [-1.0, -np.inf], "epoch_loss": 0.1 + 0.2}


def write_states(checkpoints, *steps):
    checkpoints.directory.mkdir(parents=True, exist_ok=True)
    for step in steps:
        arrays = {**ARRAYS, "train/step": np.asarray(np.int64(step))}
        checkpoints.save_state(arrays, {**PROGRESS, "step": step}, step)


def test_a_state_comes_back_to_the_bit(checkpoints):
    write_states(checkpoints, 7)
    arrays, progress = checkpoints.load_state()
    assert progress == PROGRESS
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].dtype == array.dtype
        assert arrays[name].shape == array.shape
        assert arrays[name].tobytes() == array.tobytes()


def test_the_last_states_are_kept_and_the_latest_is_loaded(checkpoints):
    write_states(checkpoints, 1, 5, 20, 100)
    assert names_in(checkpoints.directory) == [
        "state_00000020.safetensors",
        "state_00000100.safetensors",
    ]
    assert checkpoints.load_state()[1]["step"] == 100


def damage(path: Path, how: str) -> None:
    data = bytearray(path.read_bytes())
    if how == "cut":
        data = data[: len(data) // 2]
    elif how == "a bit":
        data[-12] ^= 1
    elif how == "progress":
        place = data.index(b'\\"step\\": ')
        data[place + 10] = ord("9")
    elif how == "empty":
        data = b""
    path.write_bytes(data)


@pytest.mark.parametrize("how", ["cut", "a bit", "progress", "empty"])
def test_a_damaged_state_gives_way_to_the_one_before(checkpoints, how, caplog):
    write_states(checkpoints, 5, 10)
    damage(checkpoints.states[0], how)
    arrays, progress = checkpoints.load_state()
    assert progress["step"] == int(arrays["train/step"]) == 5
    assert "state_00000010.safetensors is damaged" in caplog.text


def test_a_run_without_a_state_begins_again(checkpoints, caplog):
    checkpoints.directory.mkdir()
    assert checkpoints.load_state() == (None, {})
    assert "it starts from the beginning" in caplog.text


def test_no_state_that_is_whole(checkpoints):
    write_states(checkpoints, 5)
    damage(checkpoints.states[0], "a bit")
    with pytest.raises(UserError, match=r"every state is damaged: state_00000005.safetensors"):
        checkpoints.load_state()


def test_a_damaged_state_does_not_count_as_one_of_the_last(checkpoints):
    write_states(checkpoints, 5, 10)
    damage(checkpoints.states[0], "a bit")
    assert checkpoints.load_state()[1]["step"] == 5
    write_states(checkpoints, 7)
    assert names_in(checkpoints.directory) == [
        "state_00000005.safetensors",
        "state_00000007.safetensors",
    ]
    assert checkpoints.load_state()[1]["step"] == 7


def test_a_full_disk_keeps_the_state_before(checkpoints):
    write_states(checkpoints, 5)
    with files_of_at_most(100), pytest.raises(OSError, match="state_00000010"):
        write_states(checkpoints, 10)
    assert names_in(checkpoints.directory) == ["state_00000005.safetensors"]
    assert checkpoints.load_state()[1]["step"] == 5


def test_a_worker_that_does_not_write(tmp_path, models):
    other = Checkpoints(tmp_path, {}, writes=False)
    write_states(other, 5)
    other.save(models[0], other.best, 1)
    assert names_in(tmp_path) == []
