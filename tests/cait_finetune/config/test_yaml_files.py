"""The user's YAML files: they precede ours, and text stays text. A run's own YAML file."""

from __future__ import annotations

import dataclasses

import pytest
import yaml
from omegaconf import OmegaConf

from cait_finetune.cli.compose import configure, configure_run
from cait_finetune.commands.sweep import write_sweep
from cait_finetune.errors import UserError


def write(folder, name, text):
    path = folder / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return folder


OWN = "defaults: [config, _self_]\n"


def test_text_is_text(tmp_path):
    write(tmp_path, "own", OWN + "dataset: {source: folder, data_dir: 2024_01, class_names: [no, yes, 012]}\nseed: 1_0\n"
          "logger: {wandb: {enabled: true, name: 1e3, tags: [on, 1:30]}}\nhydra: {run: {dir: 1_0}}\n")  # fmt: skip
    config, directory, _ = configure_run(recipe="own", folder=tmp_path)
    assert config.dataset.data_dir.endswith("/2024_01") or config.dataset.data_dir == "2024_01"
    assert config.dataset.class_names == ["no", "yes", "012"]
    assert (config.logger.wandb.name, config.logger.wandb.tags) == ("1e3", ["on", "1:30"])
    assert (config.seed, str(directory)) == (10, "1_0")


@pytest.mark.parametrize(
    ("name", "text"),
    [("dataset/own", "name: 1e3\n"), ("dataset/own", "# @package _global_\ndataset: {name: 1e3}\n"),
     ("dataset/own", "# @package dataset\nname: 1e3\n")],
)  # fmt: skip
def test_text_is_text_in_a_group(name, text, tmp_path):
    write(tmp_path, name, text)
    assert configure("dataset=own", folder=tmp_path).dataset.name == "1e3"


def test_a_recipe_of_ours_does_not_take_the_place_of_the_user_s(tmp_path):
    write(tmp_path, "flowers_lora", OWN + "seed: 77\n")
    write(tmp_path, "dataset/flowers", "name: mine\n")
    write(tmp_path, "tuning/full", "method: linear_probe\nsolver: sgd\ncache_features: false\n")
    config = configure("dataset=flowers", recipe="flowers_lora", folder=tmp_path)
    assert (config.seed, config.dataset.name, config.tuning.method) == (77, "mine", "linear_probe")
    ours = configure("dataset=flowers", recipe="flowers_lora")
    assert (ours.seed, ours.dataset.name, ours.tuning.method) == (0, "tf_flowers", "lora")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "own",
            "train: {epochs: 3}\n",
            r"own\.yaml: got a recipe without a defaults list, .*\n  Begin the file",
        ),
        (
            "own",
            "defaults: [own, _self_]\n",
            "^defaults: got a file that includes itself, .*\n  Rename",
        ),
        ("own", OWN + "a: [b", r"own\.yaml: got while parsing a flow sequence"),
        ("own", OWN + "train: 3", r"own\.yaml, line 2: train: got 3, expected keys of the group"),
        (
            "own",
            OWN + "dataset: {name: [3]}",
            r"own\.yaml, line 2: dataset\.name: got \[3\], expected text",
        ),
        ("schema", "seed: 1", r"^-cd: got .*schema\.yaml, expected another name"),
    ],
)
def test_a_wrong_recipe_raises_an_error_that_names_the_file(name, text, message, tmp_path):
    write(tmp_path, name, text)
    with pytest.raises(UserError, match=message):
        configure(recipe=name, folder=tmp_path)


def test_a_file_that_is_not_utf_8(tmp_path):
    (tmp_path / "own.yaml").write_bytes(OWN.encode() + b"dataset: {name: \xe9}")
    with pytest.raises(
        UserError, match=r"own\.yaml: got 'utf-8' codec .*, expected a YAML file in UTF-8"
    ):
        configure(recipe="own", folder=tmp_path)


def test_a_folder_that_ours_would_hide_is_refused(tmp_path):
    write(tmp_path, "dataset/own", "name: mine\n")
    path = f"hydra.searchpath=[file://{tmp_path}]"
    assert configure(path, "dataset=own").dataset.name == "mine"
    write(tmp_path, "dataset/flowers", "name: mine\n")
    with pytest.raises(
        UserError, match=r"^hydra\.searchpath: got .*flowers\.yaml, .*flowers\.yaml is used"
    ):
        configure(path, "dataset=flowers")


@pytest.fixture
def run(tmp_path):
    """Write a run's ``config.yaml``; return its directory and configuration (no `resume`)."""
    config = configure("dataset=folder", "optimizer=sgd", "dataset.name=1e3", "seed=3", "tuning=lora",
                       "dataset.class_names=[no,012,b,c,d]", f"dataset.data_dir={tmp_path}")  # fmt: skip
    saved = OmegaConf.structured(dataclasses.replace(config, resume="another/run"))
    OmegaConf.save(saved, tmp_path / "config.yaml")
    return tmp_path, config


def test_a_run_is_made_again(run):
    folder, config = run
    again, directory, _ = configure_run(folder=folder)
    assert again == config
    assert directory.as_posix().startswith("outputs/1e3/cait_nano_32/")
    assert directory != folder
    assert configure("seed=5", "tuning.rank=2", folder=folder) == dataclasses.replace(
        config, seed=5, tuning=dataclasses.replace(config.tuning, rank=2)
    )


def test_a_run_that_is_made_again_has_values_alone(run):
    folder, _ = run
    with pytest.raises(
        UserError, match=r"^debug: got an option beside a run, expected none.*\n  Leave debug= out"
    ):
        configure("debug=profile", folder=folder)
    with pytest.raises(UserError, match=r"^train\.epochs: got 0"):
        configure("train.epochs=0", folder=folder)


@pytest.mark.slow
def test_sweep_values_of_a_text_key_in_a_recipe_stay_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(
        tmp_path,
        "own",
        OWN + "hydra: {sweeper: {params: {dataset.name: '01,1_0', seed: '01,2'}}}\n",
    )
    _, document, _ = write_sweep(["-cd", str(tmp_path), "-cn", "own"])
    assert document["parameters"]["dataset.name"] == {"values": ["'01'", "'1_0'"]}
    assert yaml.safe_load((tmp_path / "sweep.yaml").read_text()) == document
