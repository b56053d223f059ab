"""Paths are absolute, and what is drawn follows the run's seed, or its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from cait_finetune import config as configuration
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
def test_what_draws_the_images(words, seed):
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
