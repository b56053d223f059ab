"""Each recipe states its expected results, and runs two steps of a small model on test images.

The tests change only values, so a recipe keeps its own groups and options. Recipes that differ only in
their data and in some numbers share one run; the test opens the data of each.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
import textwrap
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from cait_finetune.cli.compose import configure_run
from cait_finetune.commands.evaluate import evaluate
from cait_finetune.config import Config
from cait_finetune.data.load import load_source
from cait_finetune.data.procedural.builder import Procedural
from cait_finetune.workflow.finetune import finetune
from tests.cait_finetune.stand_ins import COLOURS, CONF, image_file, prepare
from tests.quick_runs import no_figures
from tests.small_model import SMALL, small_variant

pytestmark = pytest.mark.slow

FOLDER = CONF.parent / "recipes"
RECIPES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
QUICK = [
    f"model.name={SMALL.name}",
    "model.weights=none",
    "model.image_size=null",
    "train.batch_size=8",
    "train.eval_batch_size=8",
    "export=none",
    "debug=fast_dev_run",
]
#: Overrides for hardware or data that the test machine lacks.
INSTEAD = {
    "flowers_tpu": ["distribution=cpu"],
    # The peak learning rate scales with the small batch, but these two rates do not.
    "transfer_inat18": ["schedule.min_lr=0", "schedule.warmup_lr=0"],
    "pretrain_nano": ["dataset.num_classes=30"],
    "transfer_inat19": ["dataset.num_classes=null", "schedule.min_lr=0", "schedule.warmup_lr=0"],
}
#: Recipes that the run of another recipe covers, with that recipe.
SAME_RUN = {
    "digits_from_scratch": "flowers_sweep",
    "flowers_offline": "flowers_sweep",
    "transfer_cifar10": "transfer_cars",
    "transfer_cifar100": "transfer_cars",
    "transfer_flowers102": "transfer_cars",
}
#: Numbers in which recipes of one run may differ.
NUMBERS = {"optimizer.base_lr", "optimizer.beta_2", "optimizer.layer_decay", "augment.crop_scale",
           "train.epochs"}  # fmt: skip
DRAWN = "transfer_inat18"  # has the most classes
SIZES = {"train": 40, "validation": 12, "test": 12}


def header(recipe: str) -> str:
    """Return the comment at the top of the recipe."""
    lines = (FOLDER / f"{recipe}.yaml").read_text().partition("defaults:")[0].splitlines()
    return "\n".join(line.removeprefix("#").removeprefix(" ") for line in lines)


def write_stand_in(config: Config, folder: Path) -> None:
    """Write a TFDS data set with the name, version and number of classes of the recipe's set."""
    dataset = config.dataset
    prepare(
        folder,
        dataset.name,
        VERSION=tfds.builder(dataset.name, data_dir=folder).version,
        SIZES=SIZES,
        LABEL=tfds.features.ClassLabel(num_classes=dataset.num_classes),
    )


def write_competition(folder: Path, monkeypatch) -> None:
    """Write iNaturalist 2019 in its published layout; the recipe's own code writes the table."""
    monkeypatch.chdir(folder)
    for split, count in (("train", 40), ("val", 12)):
        images, annotations = [], []
        for number in range(count):
            name = f"train_val2019/Birds/{number % 3}/{split}{number}.jpg"
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            colour = list(COLOURS.values())[number % 3]
            (folder / name).write_bytes(image_file(colour, seed=number))
            images.append({"id": 100 + number, "file_name": name})
            annotations.append({"image_id": 100 + number, "category_id": number % 3})
        told = {"images": images, "annotations": annotations[::-1]}
        (folder / f"{split}2019.json").write_text(json.dumps(told))
    lines = header("transfer_inat19")
    exec(textwrap.dedent(lines[lines.index("  import csv") :]))
    assert (folder / "inat19.csv").is_file()


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_states_its_expected_result(recipe):
    first, *others = header(recipe).splitlines()
    assert first.startswith("python -m cait_finetune")
    said = re.findall(r"\b([Mm]easured|[Pp]ublished|[Nn]ot measured)\b", " ".join(others))
    assert said


@pytest.fixture
def compose(tmp_path, monkeypatch):
    """Return a function that writes a recipe's data and returns the recipe's configuration."""
    monkeypatch.setenv("HOME", str(tmp_path))  # for caches
    # Drawing all images is slow.
    few = {"train": 1, "held_out": 1, "letters": 20, "fractals": 6, "textures": 4}
    for name, count in few.items():
        monkeypatch.setattr(Procedural.BUILDER_CONFIGS[0], name, count)

    def compose(recipe):
        words = [*QUICK, *INSTEAD.get(recipe, [])]
        data = tmp_path / "inat19.csv" if recipe == "transfer_inat19" else tmp_path
        config, *_ = configure_run(*words, f"dataset.data_dir={data}", recipe=recipe)
        if config.dataset.source == "csv":
            write_competition(tmp_path, monkeypatch)
        elif config.dataset.source == "tfds":
            write_stand_in(config, tmp_path)
        return config

    with small_variant():
        yield compose


def flat(values: dict, prefix: str = "") -> dict[str, object]:
    """Return the leaves of nested dictionaries by dotted key."""
    leaves = {}
    for key, value in values.items():
        one = flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
        leaves |= one
    return leaves


@pytest.mark.parametrize("recipe", sorted(set(RECIPES) - set(SAME_RUN)))
def test_a_recipe_runs_two_steps(recipe, tmp_path, compose):
    config = compose(recipe)
    if "cait_finetune evaluate" in header(recipe):
        table = evaluate(config, tmp_path / "run")
        assert table.read_text().count(config.model.name) == 2  # a row for each crop ratio
        return
    with contextlib.nullcontext() if recipe == DRAWN else no_figures():
        result = finetune(config, tmp_path / "run")
    assert 0 <= result["test_top1"] <= 1
    assert (tmp_path / "run" / "checkpoints" / "best.safetensors").is_file()
    if config.tuning.solver != "lbfgs":
        assert result["steps"] == 2


@pytest.mark.parametrize(("recipe", "other"), SAME_RUN.items())
def test_a_recipe_differs_from_its_base_in_data_and_numbers_only(recipe, other, tmp_path, compose):
    config = compose(recipe)
    source = load_source(config.dataset)
    assert len(source.class_names) == config.dataset.num_classes
    assert min(source.sizes.values()) > 0
    assert next(iter(source.examples("train").as_numpy_iterator()))["image"]
    ours, theirs = (flat(dataclasses.asdict(one)) for one in (config, compose(other)))
    assert ours.keys() == theirs.keys()
    differ = {key for key in ours if ours[key] != theirs[key]}
    assert {key for key in differ if not key.startswith("dataset.")} <= NUMBERS


def test_the_transfer_table_has_the_papers_settings():
    """The settings are those of DeiT: SGD on CIFAR and Cars, AdamW on iNaturalist."""
    for name in ("cifar10", "cifar100", "flowers102", "cars", "inat18", "inat19"):
        config, *_ = configure_run("dataset.data_dir=x", recipe=f"transfer_{name}")
        inat = name.startswith("inat")
        optimizer, train, augment = config.optimizer, config.train, config.augment
        assert (train.batch_size, train.epochs) == (768, 360 if inat else 1000)
        assert optimizer.lr_batch_size == 768
        assert (
            optimizer.name,
            optimizer.base_lr,
            optimizer.weight_decay,
            optimizer.layer_decay,
        ) == (("adamw", 7.5e-5, 0.05, 1.0) if inat else ("sgd", 1e-2, 1e-4, 1.0))
        assert (augment.mixup, augment.cutmix, augment.repeats) == (0.8, 1.0, 3)
        assert augment.erasing == (0.1 if inat else 0.0)
        assert config.model.drop_path_rate == (0.1 if inat else 0.0)


@pytest.mark.parametrize("model", ["cait_s24_384", "cait_s36_384", "cait_m36_384"])
def test_the_model_word_changes_the_model_only(model):
    config, *_ = configure_run(f"model={model}", "model.image_size=224", recipe="transfer_inat18")
    assert (config.model.name, config.model.image_size) == (model, 224)
    assert (config.model.drop_path_rate, config.train.epochs) == (0.1, 360)
