"""TFDS prepares a set in its own directory, or in a temporary one, or an error says why not."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from cait_finetune.config import DatasetConfig
from cait_finetune.data import tfds_load
from cait_finetune.data.digits import Digits
from cait_finetune.data.procedural.builder import Procedural
from cait_finetune.errors import UserError

DIGITS = DatasetConfig(name="digits", source="digits")


@pytest.fixture
def blocked(tmp_path, monkeypatch):
    """Return a path below a file, which cannot be written. Redirect the temporary directory."""
    (tmp_path / "file").touch()
    monkeypatch.setattr(tfds_load, "temporary_directory", lambda: str(tmp_path / "temporary"))
    monkeypatch.setattr(tfds_load, "usable_home", lambda: tmp_path)
    monkeypatch.delenv("TFDS_DATA_DIR", raising=False)
    return str(tmp_path / "file" / "tensorflow_datasets")


@pytest.mark.parametrize("config", ["", "full"])
def test_built_in_sets_use_a_temporary_directory_if_data_dir_is_unwritable(
    blocked, tmp_path, config
):
    made = Procedural(config=config, data_dir=blocked) if config else Digits(data_dir=blocked)
    given = DatasetConfig(name="procedural") if config else DIGITS
    place = tfds_load._place(made, given).data_dir
    assert Path(place).is_relative_to(tmp_path / "temporary")


def test_a_download_into_an_unwritable_data_dir_raises_an_error(blocked, monkeypatch):
    beans = tfds.builder("beans", data_dir=blocked, try_gcs=False)
    given = DatasetConfig(name="beans")
    with pytest.raises(
        UserError,
        match=r"^dataset\.data_dir: got .*/file/tensorflow_datasets, TFDS' default folder, which cannot be "
        r"written \(.+\), expected a directory that can be written\n  Set dataset\.data_dir",
    ):
        tfds_load._place(beans, given)
    monkeypatch.setattr(tfds_load, "usable_home", lambda: None)
    with pytest.raises(UserError, match=r"^dataset\.data_dir: got nothing, and no home directory"):
        tfds_load._place(beans, given)


def test_a_writable_data_dir_is_used(blocked, tmp_path, monkeypatch):
    own = Digits(data_dir=str(tmp_path / "own"))
    assert tfds_load._place(own, DIGITS) is own
    monkeypatch.setattr(tfds_load, "usable_home", lambda: None)
    assert tfds_load._place(own, DIGITS) is not own
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "own"))
    assert tfds_load._place(own, DIGITS) is own


def test_a_place_that_is_configured_stays(blocked):
    there = Digits(data_dir=blocked)
    given = DatasetConfig(name="digits", source="digits", data_dir=blocked)
    assert tfds_load._place(there, given) is there


def test_a_set_that_is_made_here_blames_no_network(tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Digits, "download_and_prepare", full)
    with pytest.raises(
        UserError, match=r"a set that can be made in .* \(.*No space left"
    ) as caught:
        tfds_load._prepare(Digits(data_dir=str(tmp_path)), DIGITS)
    assert "network" not in str(caught.value)
