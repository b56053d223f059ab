"""Paths become absolute. The seed of the drawn images is ``dataset.seed``, or follows ``seed``."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from cait_finetune import config as configuration
from cait_finetune.cli.compose import configure
from cait_finetune.errors import UserError
from tests.cait_finetune.stand_ins import checked, composed


@pytest.mark.parametrize(
    ("typed", "path"),
    [("photos", "{here}/photos"), ("./photos", "{here}/photos"), ("../photos", "{here}/../photos"),
     ("/photos", "/photos"), ("~/photos", "{home}/photos"), ("gs://bucket/photos", "gs://bucket/photos"),
     ("null", None)],
)  # fmt: skip
def test_a_relative_path_is_as_seen_from_the_working_directory(typed, path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/of/me")
    wanted = path and path.format(here=tmp_path, home="/home/of/me")
    dataset = checked(f"dataset.data_dir='{typed}'" if path else "dataset.data_dir=null").dataset
    assert dataset.data_dir == wanted
    assert checked("dataset=folder", f"dataset.splits.file='{typed}'" if path else "dataset.splits.file=null"
                   ).dataset.splits.file == wanted  # fmt: skip


def test_caches_stay_below_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = checked(
        "dataset.cache=disk", "dataset.cache_dir=kept", "train.compile_cache_dir=here/kept"
    )
    assert config.dataset.cache_dir == f"{tmp_path}/kept"
    assert config.train.compile_cache_dir == f"{tmp_path}/here/kept"
    assert checked("dataset.cache=disk").dataset.cache_dir.startswith("~/")
    assert (
        checked("tuning=linear_probe", "tuning.cache_dir=kept").tuning.cache_dir
        == f"{tmp_path}/kept"
    )


def test_weights_are_a_path_where_there_is_such_a_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("hub", "some.npz"):
        Path(name).touch()
    found = {
        name: checked(f"model.weights={name}").model.weights
        for name in ("hub", "some.npz", "no.npz")
    }
    assert found == {"hub": "hub", "some.npz": f"{tmp_path}/some.npz", "no.npz": "no.npz"}


FEW = "dataset.examples_per_class=5"


@pytest.mark.parametrize(
    ("words", "seed"),
    [
        ([FEW, "seed=7"], 7), (["dataset.train_share=0.5", "seed=7"], 7), (["dataset.folds=3", "seed=7"], 7),
        ([FEW, "seed=7", "dataset.seed=2"], 2), ([FEW, "seed=7", "dataset.splits.seed=3"], 3),
        ([FEW, "seed=7", "dataset.splits.seed=0"], 0), (["seed=7"], None),
    ],
)  # fmt: skip
def test_draw_seed_is_dataset_seed_or_seed(words, seed):
    dataset = checked(*words).dataset
    assert dataset.seed == seed
    assert dataset.draw_seed == (seed or 0)


def test_an_older_run_drew_by_the_seed_of_its_division():
    new = composed(FEW, "seed=7")
    old = OmegaConf.merge(new, {"resume": "some/run"})
    assert configuration.from_hydra(old).dataset.draw_seed == 0
    old.dataset.splits.seed = 3
    assert configuration.from_hydra(old).dataset.draw_seed == 3
    assert configuration.DatasetConfig(name="x", examples_per_class=5).draw_seed == 0


def test_the_composed_configuration_is_not_changed():
    new = composed(FEW, "dataset.data_dir=x")
    configuration.from_hydra(new)
    assert (new.dataset.data_dir, new.dataset.seed) == ("x", None)
    assert os.path.isabs(configuration.with_absolute_paths(new).dataset.data_dir)


def begun(config: configuration.Config, folder: Path) -> Path:
    """Make the directory of an interrupted run; return it."""
    folder.mkdir()
    OmegaConf.save(OmegaConf.structured(config), folder / "config.yaml")
    return folder


WORDS = [FEW, "seed=7", "dataset=folder", "dataset.data_dir=2024_01", "dataset.splits.file=a,b"]


@pytest.mark.parametrize(
    "words",
    [WORDS, [], ["dataset.data_dir=./2024_01"], ["seed=7"], [FEW, "dataset.splits.file=a,b"]],
)
def test_a_run_that_is_resumed_has_the_same_images(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    config = configure(*WORDS)
    run = begun(config, tmp_path / "run")
    assert configure(*words, f"resume={run}") == dataclasses.replace(config, resume=str(run))
    assert not capsys.readouterr().err


def test_a_repeated_group_word_does_not_change_the_dataset_seed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = begun(configure(*WORDS), tmp_path / "run")
    with pytest.raises(UserError, match=r"dataset\.splits\.file: .*/a,b → null") as error:
        configure("dataset=folder", FEW, f"resume={run}")
    assert "dataset.seed" not in str(error.value)


def test_an_older_run_is_resumed_by_its_whole_command(tmp_path):
    """The old run recorded keys without effect and drew images with ``dataset.splits.seed``."""
    words = [FEW, "seed=7"]
    config = configure(*words, recipe="flowers_notebook")
    old = OmegaConf.merge(
        OmegaConf.structured(config),
        {"optimizer": {"momentum": 0.9}, "average": {"decay": 0.9998}, "schedule": {"step_epochs": 30.0},
         "loss": {"clip": 0.05}, "dataset": {"seed": None, "splits": {"seed": 0, "shares": [0.8, 0.1, 0.1]}}},
    )  # fmt: skip
    run = tmp_path / "run"
    run.mkdir()
    OmegaConf.save(old, run / "config.yaml")
    again = configure(*words, f"resume={run}", recipe="flowers_notebook")
    assert again.optimizer == config.optimizer
    assert again.dataset.draw_seed == 0
