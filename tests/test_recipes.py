"""Each recipe states its expected results, and runs two steps of a small model on test images.

The tests change only values, so a recipe keeps its own groups and options.
"""

from __future__ import annotations

import dataclasses
import json
import re
import textwrap
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

import cait_tf
from cait_finetune.cli.hydra_app import configure_run
from cait_finetune.commands.evaluate import evaluate
from cait_finetune.config import Config
from cait_finetune.data.procedural.builder import Procedural
from cait_finetune.workflow.finetune import finetune
from tests.cait_finetune.stand_ins import COLOURS, CONF, image_file, prepare

pytestmark = pytest.mark.slow

FOLDER = CONF.parent / "recipes"
RECIPES = sorted(path.stem for path in FOLDER.glob("*.yaml"))
SMALL = [
    "model.name=cait_nano_16",
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
    "transfer_inat19": ["dataset.num_classes=null", "schedule.min_lr=0", "schedule.warmup_lr=0"],
}
MODEL = dataclasses.replace(
    cait_tf.VARIANTS["cait_nano_32"],
    name="cait_nano_16",
    image_size=16,
    patch_size=8,
    embed_dim=8,
    depth=1,
    depth_token_only=1,
    num_heads=1,
)
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


def write_competition(folder: Path, monkeypatch) -> Path:
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
    return folder / "inat19.csv"


@pytest.mark.parametrize("recipe", RECIPES)
def test_it_says_what_to_expect(recipe):
    first, *others = header(recipe).splitlines()
    assert first.startswith("python -m cait_finetune")
    said = re.findall(r"\b([Mm]easured|[Pp]ublished|[Nn]ot measured)\b", " ".join(others))
    assert said


@pytest.mark.parametrize("recipe", RECIPES)
def test_it_runs(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))  # for caches
    monkeypatch.setattr("cait_tf.variants.VARIANTS", {**cait_tf.VARIANTS, MODEL.name: MODEL})
    words = [*SMALL, *INSTEAD.get(recipe, [])]
    for split in ("train", "held_out"):  # drawing all images is slow
        monkeypatch.setattr(Procedural.BUILDER_CONFIGS[0], split, 1)
    config, *_ = configure_run(*words, "dataset.data_dir=later", recipe=recipe)
    data_dir = tmp_path
    if config.dataset.source == "csv":
        data_dir = write_competition(tmp_path, monkeypatch)
    elif config.dataset.source == "tfds":
        write_stand_in(config, tmp_path)
    config, *_ = configure_run(*words, f"dataset.data_dir={data_dir}", recipe=recipe)
    if "cait_finetune evaluate" in header(recipe):
        table = evaluate(config, tmp_path / "run")
        assert table.read_text().count(config.model.name) == 2  # a row for each crop ratio
        return
    result = finetune(config, tmp_path / "run")
    assert 0 <= result["test_top1"] <= 1
    assert (tmp_path / "run" / "checkpoints" / "best.safetensors").is_file()
    if config.tuning.solver != "lbfgs":
        assert result["steps"] == 2


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
def test_another_model_is_one_word(model):
    config, *_ = configure_run(f"model={model}", "model.image_size=224", recipe="transfer_inat18")
    assert (config.model.name, config.model.image_size) == (model, 224)
    assert (config.model.drop_path_rate, config.train.epochs) == (0.1, 360)
