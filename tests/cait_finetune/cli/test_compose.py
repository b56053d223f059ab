"""The configuration as Python composes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cait_finetune.cli.compose import configure, configure_run
from cait_finetune.errors import UserError


def test_configure_applies_a_recipe_and_words():
    config = configure("train.epochs=3", recipe="flowers_notebook")
    assert (config.train.epochs, config.dataset.name) == (3, "tf_flowers")
    assert configure().dataset.name == "digits"


def test_configure_run_refuses_a_bucket():
    with pytest.raises(UserError, match=r"^hydra\.run\.dir: got s3://b, expected a path on a disk"):
        configure_run("hydra.run.dir=s3://b")


def test_configure_raises_an_error_that_names_the_key():
    with pytest.raises(UserError, match=r"train\.epoch: got an unknown key"):
        configure("train.epoch=3")
    with pytest.raises(UserError, match=r"-cd: got nowhere, expected an existing folder"):
        configure(folder=Path("nowhere"))


@pytest.mark.parametrize("name", ["flowers_lora", "flowers_lora.yaml", "./flowers_lora", "mine"])
def test_a_recipe_of_the_working_directory_is_not_passed_over(name, tmp_path, monkeypatch):
    """``-cn NAME`` without ``-cd`` selects our recipe. The user may mean ``NAME.yaml`` beside it."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / f"{Path(name).stem}.yaml"
    file.write_text("defaults: [config, _self_]\n")
    with pytest.raises(UserError) as caught:
        configure(recipe=name)
    assert f"-cn: got {name}, which is {file}" in str(caught.value)
    assert str(caught.value).endswith(f"\n  Write -cd . -cn {file.stem}")
    assert configure(recipe=file.stem, folder=tmp_path).dataset.name == "digits"
    file.unlink()
    if name == "flowers_lora":
        assert configure(recipe=name).tuning.method == "lora"


def test_a_working_directory_that_was_deleted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(UserError, match=r"^working directory: got .*, which was deleted"):
        configure_run("seed=1")
