"""The command that started a run is saved and read again."""

from __future__ import annotations

import shlex
import sys

import pytest
from omegaconf import OmegaConf

from cait_finetune.cli.compose import configure
from cait_finetune.commands import train
from cait_finetune.runs.command_line import command_line, format_command, named_keys, override
from tests.cait_finetune.stand_ins import composed


@pytest.fixture
def commands(monkeypatch, tmp_path):
    """Return a function that starts a command with the given words.

    The function returns what `command_line` gave in every run so far: for the run's directory, and for
    a directory below it.
    """
    import cait_finetune.workflow.finetune as workflow

    said = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")
    monkeypatch.setattr(workflow, "finetune", lambda _, directory: said.append((
        command_line(directory), command_line(directory / "another"))))  # fmt: skip

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["cait_finetune", *words])
        train.main()
        return said

    return run


def test_the_words_of_a_run(commands):
    ((command, of_another),) = commands(
        "seed=5", "augment.crop_scale=[0.5,1]", "hydra.run.dir=here"
    )
    assert command == "python -m cait_finetune seed=5 'augment.crop_scale=[0.5,1]'"
    assert of_another is None


@pytest.mark.slow
def test_of_several_runs_each_has_its_own(commands):
    said = commands("-m", "-cn", "flowers_notebook", "seed=1,2", "hydra.sweep.dir=sweep")
    assert [command for command, _ in said] == [
        f"python -m cait_finetune -cn flowers_notebook seed={seed}" for seed in (1, 2)
    ]


def test_a_folder_of_recipes_is_named(commands, tmp_path):
    (tmp_path / "own.yaml").write_text("defaults: [config, _self_]\n")
    ((command, _),) = commands("-cd", str(tmp_path), "-cn", "own", "hydra.run.dir=here")
    assert command == f"python -m cait_finetune -cd {tmp_path} -cn own"


TYPED = ["2024_01", "a,b", "d/été (1)", "it's", "x=y", "[a]", "a\\", "1:30", "null"]


@pytest.mark.slow
@pytest.mark.parametrize("text", TYPED)
def test_the_recorded_command_repeats_the_typed_words(commands, text):
    words = [f"dataset.license={text}", "dataset=folder", "dataset.class_names=[01,'a,b',no]"]
    ((command, _),) = commands(*words, "hydra.run.dir=1_0")
    typed = shlex.split(command)[3:]
    assert typed == words
    config = configure(*typed)
    assert config.dataset.license == (None if text == "null" else text)
    assert config.dataset.class_names == ["01", "a,b", "no"]


@pytest.mark.slow
def test_one_of_several_texts_runs_again(commands):
    said = commands("-m", "dataset.license=1e3,'a,b',choice", "hydra.sweep.dir=1_0")
    typed = [shlex.split(command)[3:] for command, _ in said]
    assert typed == [["dataset.license=1e3"], ["dataset.license=a,b"], ["dataset.license=choice"]]
    assert [configure(*words).dataset.license for words in typed] == ["1e3", "a,b", "choice"]


def test_keys_are_read_again():
    command = format_command(["-cn", "some", "++seed=1", "~debug", "a.b='x y'"])
    assert named_keys(command) == {"-cn": "some", "seed": "1", "debug": "", "a.b": "'x y'"}


@pytest.mark.parametrize(
    ("key", "value"),
    [("dataset.data_dir", None), ("deterministic", True), ("train.clip_norm", 1e-7), ("seed", 3),
     ("augment.crop_scale", [0.5, 1.0]), ("dataset.data_dir", "/a b/c=d"),
     ("dataset.data_dir", "null"), ("dataset.data_dir", "1e-3"), ("dataset.data_dir", "it's, {so}"),
     ("dataset.class_names", ["a b", "c"]), ("model.weights", "hub")],
)  # fmt: skip
def test_an_override_is_read_as_it_was(key, value):
    (word,) = shlex.split(format_command([override(key, value)]))[3:]
    assert OmegaConf.select(composed(word), key) == value
