"""A recipe written from the words of a command configures the same run."""

from __future__ import annotations

import pytest

from cait_finetune.cli.compose import configure
from cait_finetune.commands.new_recipe import new_recipe
from cait_finetune.errors import UserError

WORDS = ["dataset=folder", "dataset.data_dir=2024_01", "dataset.class_names=[no,012]", "optimizer=sgd",
         "optimizer.base_lr=1e-2", "train.epochs=5", "dataset.columns.label=null", "logger=[csv,tensorboard]",
         "seed=3", "augment.crop_scale=[0.5,1]", "model=cait_nano_32"]  # fmt: skip


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_new_recipe_configures_the_same_run(folder):
    path = new_recipe("birds", WORDS)
    assert configure(recipe="birds", folder=folder) == configure(*WORDS)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("# cait-finetune -cd . -cn birds\n")
    assert "  - override optimizer: sgd\n" in text
    assert "  base_lr: 0.01  # Peak learning rate of the head.\n" in text
    assert "  data_dir: '2024_01'  # Folder or table" in text


def test_a_new_recipe_can_extend_another_recipe(folder):
    new_recipe("mine", ["-cn", "digits_from_scratch", "train.epochs=3"])
    config = configure(recipe="mine", folder=folder)
    assert config == configure("train.epochs=3", recipe="digits_from_scratch")


@pytest.mark.parametrize(
    ("name", "words", "message"),
    [
        ("", [], "new_recipe: got nothing, expected a name"),
        ("a/b", [], "new_recipe: got a/b, expected a name"),
        ("config", [], "new_recipe: got config, expected a name that no recipe of ours has"),
        ("there.yaml", [], "new_recipe: got there.yaml, expected the name of a new file"),
        ("birds", ["epochs=3"], "epochs: got an unknown key"),
        ("there", [], "new_recipe: got there.yaml, expected the name of a new file"),
    ],
)
def test_a_mistake_writes_nothing(name, words, message, folder):
    (folder / "there.yaml").write_text("mine")
    with pytest.raises(UserError, match=message):
        new_recipe(name, words)
    assert (folder / "there.yaml").read_text() == "mine"
    assert [path.name for path in folder.iterdir()] == ["there.yaml"]


def test_a_group_that_is_typed_twice_has_the_last_option(folder):
    new_recipe("twice", ["augment=deit", "augment=none", "seed=1", "seed=2"])
    config = configure(recipe="twice", folder=folder)
    assert config == configure("augment=none", "seed=2")
