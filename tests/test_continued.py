"""``continue_from=RUN train.epochs=+N``: a finished run is trained for longer, by a new run."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from cait_finetune.cli.compose import configure
from cait_finetune.cli.typed_words import arguments_as_typed
from cait_finetune.commands import evaluate
from cait_finetune.config.yaml_files import Folders
from cait_finetune.errors import UserError
from cait_finetune.runs.directory import RunDirectory
from cait_finetune.runs.identity import ChangedData
from tests.cait_finetune.stand_ins import COLOURS, image_file
from tests.quick_runs import run
from tests.small_model import WORDS, small_model  # noqa: F401  the fixture is for all tests

SHORT = ("dataset=folder", "train.batch_size=8", "train.eval_batch_size=8", "model.image_size=16",
         "export=none", "dataset.allow_flip=false", "distribution=cpu", "augment=none", "optimizer=sgd",
         "optimizer.base_lr=1e-3", *WORDS)  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Images and a finished run on them."""
    root = tmp_path_factory.mktemp("continued")
    for name, colour in COLOURS.items():
        (root / "images" / name).mkdir(parents=True)
        for number in range(20):
            path = root / "images" / name / f"{number:02}.jpg"
            path.write_bytes(image_file(colour, seed=number))
    run(root / "run", *SHORT, f"dataset.data_dir={root / 'images'}", "train.epochs=2",
        "tuning=head_then_full", "tuning.head_epochs=1", "seed=3")  # fmt: skip
    return root


@pytest.fixture
def place(made, tmp_path):
    """A copy of the images and the run, which a test may change."""
    for name in ("images", "run"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path


def more(place, *words):
    """Continue the run for one epoch on the images beside it."""
    return run(
        place / "more", f"continue_from={place / 'run'}", "train.epochs=+1",
        f"dataset.data_dir={place / 'images'}", *words,
    )  # fmt: skip


@pytest.mark.slow
def test_it_begins_with_the_best_weights_and_names_its_parent(place):
    before = {path: path.read_bytes() for path in (place / "run").rglob("*") if path.is_file()}
    said, result = more(
        place, "optimizer.base_lr=1e-12", "schedule.min_lr=0", "schedule.warmup_lr=0"
    )
    assert f"continue from the best weights of {place / 'run'} (epoch " in said
    kept = [load_file(place / name / "checkpoints/best.safetensors") for name in ("run", "more")]
    worst = max(np.abs(kept[0][name] - kept[1][name]).max() for name in kept[0])
    assert kept[0].keys() == kept[1].keys()
    assert worst < 1e-8  # a rate of 1e-12 moves nothing
    saved = OmegaConf.load(place / "more" / "config.yaml")
    assert (saved.train.epochs, saved.seed, saved.tuning.method) == (1, 3, "full")
    assert (saved.train.batch_size, saved.optimizer.name) == (8, "sgd")
    own = json.loads((place / "run" / "identity.json").read_text())["run"]
    parent = {"run": own, "directory": str(place / "run")}
    assert result["continue_from"] == parent
    identity = json.loads((place / "more" / "identity.json").read_text())
    assert identity["continue_from"] == parent
    assert identity["run"] != own
    assert {path: path.read_bytes() for path in before} == before  # the parent is only read


@pytest.mark.slow
@pytest.mark.parametrize("change", ["renamed class", "added image"])
def test_changed_images_are_refused(place, change):
    if change == "renamed class":
        (place / "images" / "red").rename(place / "images" / "zebra")
    else:
        shutil.copy(place / "images/red/00.jpg", place / "images/red/new.jpg")
        with open(place / "images/red/new.jpg", "ab") as file:
            file.write(b"!")
    with pytest.raises(ChangedData, match=r"other images|other classes"):
        more(place)
    if change == "renamed class":
        with pytest.raises(ChangedData, match=r"red.*zebra|zebra.*red"):
            more(place, "dataset.accept_changes=true")
        return
    said, _ = more(place, "dataset.accept_changes=true")
    assert "data   changed, and accepted: " in said
    saved = OmegaConf.load(place / "more" / "config.yaml")
    assert not saved.dataset.accept_changes  # a later resume does not accept further changes
    assert json.loads((place / "run" / "identity.json").read_text())["accepted"] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train.epochs=5"], r"train\.epochs: got train\.epochs=5 beside continue_from, expected \+NUMBER"),
        ([], r"train\.epochs: got nothing beside continue_from.*\n  Write continue_from=.* train\.epochs=\+5"),
        (["train.epochs=+5", "train.steps=+9"], r"got train\.epochs=\+5, train\.steps=\+9 beside"),
        (["train.epochs=+1", "model.weights=none"], r"continue_from: got .* beside model\.weights"),
        (["train.epochs=+1", "logger=csv"], r"logger: got an option beside a run, expected none"),
    ],
)  # fmt: skip
def test_words_that_do_not_fit(place, words, message):
    with pytest.raises(UserError, match=message):
        configure(f"continue_from={place / 'run'}", *words)


@pytest.mark.slow
def test_the_length_in_steps_or_images(place):
    config = configure(f"continue_from={place / 'run'}", "train.steps=+30")
    assert (config.train.epochs, config.train.steps) == (None, 30)
    config = configure(f"continue_from={place / 'run'}", "train.examples=+300", "tuning.method=full",
                       "tuning.head_epochs=null")  # fmt: skip
    assert (config.train.epochs, config.train.examples) == (None, 300)


@pytest.mark.slow
@pytest.mark.parametrize(
    "damage", ["unfinished", "edited", "other weights", "its own last weights", "no run"]
)
def test_runs_that_cannot_be_continued(place, damage):
    directory, expected = place / "run", ""
    if damage == "unfinished":
        result = json.loads((directory / "result.json").read_text())
        del result["finished"]
        (directory / "result.json").write_text(json.dumps(result))
        expected = f"whose run is not finished, expected a finished run\n  Finish it with resume={directory}"
    elif damage == "edited":
        text = (directory / "config.yaml").read_text()
        (directory / "config.yaml").write_text(text.replace("seed: 3\n", "seed: 4\n"))
        expected = "Undo the edit"
    elif damage == "other weights":
        other = json.loads((directory / "identity.json").read_text()) | {"run": "other"}
        (directory / "identity.json").write_text(json.dumps(other))
        expected = "of another run than"
    elif damage == "its own last weights":
        best = directory / "checkpoints" / "best.safetensors"
        with safe_open(best, "np") as file:
            stated = file.metadata() | {"cait_tf.sha256": "0" * 64}
        save_file({**load_file(best), "head.bias": np.ones(3, "float32")}, best, stated)
        expected = (
            "best.safetensors, whose weights result.json does not describe, expected the best"
        )
    else:
        directory, expected = place / "images", "which holds a config.yaml"
    with pytest.raises(UserError) as caught:
        configure(f"continue_from={directory}", "train.epochs=+1")
    assert expected in str(caught.value)


def test_further_epochs_without_a_run():
    with pytest.raises(UserError) as caught:
        configure("train.epochs=+5")
    assert str(caught.value) == (
        "train.epochs: got +5, expected a number, or +NUMBER beside continue_from=RUN\n"
        "  Write train.epochs=5"
    )


def test_an_empty_value():
    with pytest.raises(UserError, match="continue_from: got nothing, expected the directory of a"):
        configure("continue_from=", "train.epochs=+5")


def test_a_recipe_does_not_hold_the_key(tmp_path):
    """Only the command line sets the weights and the length, too."""
    (tmp_path / "mine.yaml").write_text(f"defaults: [config, _self_]\ncontinue_from: {tmp_path}\n")
    with pytest.raises(
        UserError, match=r"^continue_from: got .*, expected the key on the command line, "
    ):
        configure(recipe="mine", folder=tmp_path)


@pytest.mark.slow
def test_evaluate_takes_the_settings_weights_and_crop_of_a_run(place, monkeypatch):
    typed = ["evaluate", f"run={place / 'run'}", "dataset.evaluation_only=true"]
    monkeypatch.setattr(sys, "argv", typed)
    with arguments_as_typed("evaluate"):
        words, folder = sys.argv[1:], Folders.own
    config = configure(*words, folder=folder)
    assert folder == place / "run"
    assert Path(config.model.weights) == place / "run/checkpoints/best.safetensors"
    assert (config.model.image_size, config.evaluation.crop_pcts) == (16, [1.0])
    for wrong in ("model.weights=none", "-cn=flowers"):
        monkeypatch.setattr(sys, "argv", [*typed, wrong])
        refused = pytest.raises(UserError, match=r"^run: got .* beside (model\.weights|-cn)")
        with refused, arguments_as_typed("evaluate"):
            pass


@pytest.mark.slow
@pytest.mark.parametrize("changed", [False, True])
def test_evaluate_names_images_of_the_run_that_changed(place, changed, capsys, monkeypatch):
    monkeypatch.chdir(place)
    words = [f"run={place / 'run'}", "evaluation.split=test"]
    if changed:
        for path in sorted((place / "images" / "red").iterdir())[:5]:
            path.write_bytes(image_file(COLOURS["blue"], seed=99))
    monkeypatch.setattr(sys, "argv", ["evaluate", *words, f"dataset.data_dir={place / 'images'}"])
    evaluate.main()  # another place of the images
    assert ("data   other images than" in capsys.readouterr().out) == changed
    run_directory = RunDirectory(place / "run")
    saved = run_directory.read_config()
    saved.dataset.data_dir = str(place / "images")
    run_directory.write_config(saved)
    monkeypatch.setattr(sys, "argv", ["evaluate", *words])
    evaluate.main()
    assert ("data   other images than" in capsys.readouterr().out) == changed
