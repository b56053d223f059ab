"""The configuration as Python composes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cait_finetune.cli.compose import configure, configure_run
from cait_finetune.errors import UserError


def test_configured_from_python():
    config = configure("train.epochs=3", recipe="flowers_notebook")
    assert (config.train.epochs, config.dataset.name) == (3, "tf_flowers")
    assert configure().dataset.name == "digits"


def test_a_bucket_from_python():
    with pytest.raises(UserError, match=r"^hydra\.run\.dir: got s3://b, expected a path on a disk"):
        configure_run("hydra.run.dir=s3://b")


def test_a_mistake_from_python():
    with pytest.raises(UserError, match=r"train\.epoch: got an unknown key"):
        configure("train.epoch=3")
    with pytest.raises(UserError, match=r"-cd: got nowhere, expected an existing folder"):
        configure(folder=Path("nowhere"))


def test_a_working_directory_that_was_deleted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(UserError, match=r"^working directory: got .*, which was deleted"):
        configure_run("seed=1")
