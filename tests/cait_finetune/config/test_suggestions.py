"""Suggestions for a word that the configuration does not have."""

from __future__ import annotations

import re

import pytest

from cait_finetune.cli.compose import configure
from cait_finetune.cli.known_words import (
    refuse_misplaced_words,
    refuse_unknown_keys,
    refuse_unknown_options,
)
from cait_finetune.config.places import data_folder
from cait_finetune.config.suggestions import ALIASES, OPTIONS, all_groups, all_keys, unknown_option
from cait_finetune.errors import UserError


def test_every_alias_is_a_key_or_a_group():
    known = {*all_keys(), *all_groups(), "hydra.run.dir"}
    assert {key for keys in ALIASES.values() for key in keys} <= known
    assert not set(ALIASES) & known


def test_every_alias_of_an_option_has_a_group_and_is_no_option():
    for group, option in OPTIONS:
        options = {path.stem for path in (data_folder("conf") / group).glob("*.yaml")}
        assert options
        assert option not in options


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("epochs=5", "train.epochs=5"),
        ("batch_size=16", "train.batch_size=16"),
        ("lr=1e-4", "optimizer.base_lr=1e-4"),
        ("mixup=.8", "augment.mixup=.8"),
        ("optimizer.lr=1", "optimizer.base_lr=1"),
        ("imgsz=64", "model.image_size=64"),
        ("imgsz=[64,48]", "model.image_size=[64,48]"),
        ("imgsz=null", "model.image_size=null"),
        ("imgsz=64x48", "model.image_size=… (a whole number, or [height,width], or null)"),
        ("model.img-size=64", "model.image_size=64"),
        ("train.epoch=3", "train.epochs=3"),
        ("train.lr=3", "optimizer.base_lr=3"),
        ("sed=3", "seed=3"),
        ("modle=cait_s24_224", "model=cait_s24_224"),
        ("ema=true", "average=ema"),
        ("optimiser=sgd", "optimizer=sgd"),
        ("output_dir=x", "hydra.run.dir=x"),
        ("dataset.colums.label=x", "dataset.columns.label=x"),
        ("data.data_dir=x", "dataset.data_dir=x"),
        ("fp16=true", "train.precision=mixed_float16"),
        ("train.bf16=1", "train.precision=mixed_bfloat16"),
        ("amp=true", "train.precision=mixed_bfloat16"),
        ("device=cuda:0", "distribution=gpu"),
        ("train.warmup_ratio=0.1", "schedule.warmup_epochs=… (a number, or null)"),
        ("tuning.r=16", "tuning.rank=16"),
        ("precision=16", "train.precision=mixed_float16"),
        ("pretrained=true", "model.weights=pretrained"),
        ("model.pretrained=False", "model.weights=none"),
        ("lora=true", "tuning=lora"),
        ("gradient_checkpointing=true", "model.remat=true"),
        ("freeze=10", "tuning=linear_probe"),
        ("device=0", "distribution=gpu"),
        ("dataset.path=x", "dataset.data_dir=x"),
        ("amp=mixed_bfloat16", "train.precision=mixed_bfloat16"),
        ("+epochs=5", "train.epochs=5"),
        ("++train.lr=0.001", "optimizer.base_lr=0.001"),
        ("early_stopping=true", "train.patience=… (a whole number, or null)"),
        (
            "optimizer.betas=[0.9,0.99]",
            "optimizer.beta_1=… (a number, or null) or optimizer.beta_2=… (a number, or null)",
        ),
        ("dataset.split=[0.7,0.2,0.1]", "dataset.splits.shares=[0.7,0.2,0.1]"),
        ("split=val", "evaluation.split=validation"),
        ("output=x.csv", "hydra.run.dir=… (a directory)"),
        ("loss.weight=[1,2,3]", "loss.class_weights=… (one of none, balanced, effective)"),
        ("wandb.project=birds", "logger=wandb logger.wandb.project=birds"),
        ("average.ema=true", "average=ema"),
        ("tuning.freeze=true", "tuning=linear_probe"),
        ("freeze_backbone=true", "tuning=linear_probe"),
        ("gradient_clip_val=1", "train.clip_norm=1"),
        ("report_to=wandb", "logger=wandb"),
        ("augment.random_erase=0.25", "augment.erasing=0.25"),
        ("aa=rand-m9-mstd0.5", "augment=rand"),
        ("lr_scheduler_type=linear", "schedule=linear"),
        ("lr_find.num_training=50", "lr_find.steps=50"),
    ],
)
def test_an_unknown_key_suggests_the_intended_key(word, meant):
    with pytest.raises(
        UserError, match=rf"got an unknown key, .*\n  did you mean {re.escape(meant)}\?$"
    ):
        refuse_unknown_keys([word])


def test_a_key_like_no_other():
    with pytest.raises(
        UserError, match=r"^zzz: got an unknown key, expected one of task, dataset, model"
    ):
        refuse_unknown_keys(["zzz=1"])


@pytest.mark.parametrize(
    "word", ["seed=1", "dataset.columns.label=x", "optimizer=sgd", "hydra.run.dir=x", "+seed=1", "~train",
             "hydra/launcher=submitit_local", "debug@other=none", "-cn", "dataset.columns={a: b}"],
)  # fmt: skip
def test_words_for_hydra(word):
    refuse_unknown_keys([word])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--epochs", "5"],
            r"^--epochs: got an unknown option, .*\n  did you mean train\.epochs=5\?",
        ),
        (["--batch-size=8"], r"did you mean train\.batch_size=8\?"),
        (["-e", "5"], r"^-e: got an unknown option, .*\n  Write KEY=VALUE"),
        (["--lr"], r"^--lr: "),
        (["--config", "a.yaml"], r"^--config: .*\n  For a recipe write -cd FOLDER -cn NAME$"),
        (["--resume"], r"\n  Write resume=RUN$"),
        (["--multi-run"], r"\n  Write -m$"),
        (["--fp16", "dataset=folder"], r"^--fp16: .*\n  Write KEY=VALUE"),
    ],
)
def test_an_option_with_dashes(words, message):
    with pytest.raises(UserError, match=message):
        refuse_unknown_options(words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["dataset=folder seed=1"],
            r"^dataset: .*one key=value in each word\n  Write them .* own: dataset=folder seed=1$",
        ),
        (
            ["dataset=folder,seed=1"],
            r"\n  Write them as words of their own: dataset=folder seed=1$",
        ),
        (["seed=0,", "1"], r"^seed: got 0,, .*\n  Write seed=A,B$"),
        (["-m", "seed=0,", "1"], r"^1: got a value without a key, .*\n.*seed=0,1,2$"),
        (["birds.yaml"], r"^birds\.yaml: .*\n  For a recipe write -cd \. -cn birds$"),
        (["seed", "=1"], r"^seed: got a word without =, .*\n  Write seed=VALUE$"),
        (["=1"], r"^=1: got a space beside =, "),
        (["dataset.data_dir", "photos"], r"\n  Write dataset\.data_dir=photos$"),
        (["dataset.data_dir", "=", "photos"], r"\n  Write dataset\.data_dir=photos$"),
        (["seed", "train.epochs=3"], r"\n  Write seed=VALUE$"),
        (["run"], r"^run: .*\n  For a run write run=run after the command, or resume=run$"),
        (["photos"], r"^photos: .*\n  did you mean dataset=folder dataset\.data_dir=photos\?$"),
    ],
)
def test_a_word_that_the_shell_divided_otherwise(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("run", "photos"):
        (tmp_path / name).mkdir()
    (tmp_path / "run" / "config.yaml").touch()
    with pytest.raises(UserError, match=message):
        refuse_misplaced_words(words)


@pytest.mark.parametrize(
    "words", [["-cn", "x", "seed=1"], ["-sc", "install=bash"], ["~train", "+a=1"],
              ["dataset.data_dir=a b", "dataset.license='x y=z'", "dataset.class_names=[a,b]"]],
)  # fmt: skip
def test_valid_words_pass(words):
    refuse_misplaced_words(words)


def test_several_options_of_a_group_of_one():
    refuse_unknown_keys(["export=[onnx,timm]", "logger=[csv,wandb]"])
    with pytest.raises(
        UserError,
        match=r"^augment: got .*, expected one option.*\n  Write augment\.mixup=0\.8 augment\.cutmix=1$",
    ):
        refuse_unknown_keys(["augment=[mixup,cutmix]"])


@pytest.mark.parametrize(
    ("key", "value", "meant"),
    [
        ("train.precision", "bf16-mixed", "mixed_bfloat16"),
        ("export.quantise", "true", "int8"),
        ("evaluation.split", "val", "validation"),
    ],
)
def test_values_of_other_frameworks(key, value, meant):
    with pytest.raises(UserError, match=rf"\n  did you mean {key}={meant}\?$"):
        configure(f"{key}={value}")


@pytest.mark.parametrize("words", [["-m"], ["--multi"], ["-cn", "x"], ["--cfg", "job"], ["-1"]])
def test_options_of_hydra(words):
    refuse_unknown_options(words)


@pytest.mark.parametrize(
    ("group", "option", "hint"),
    [
        ("optimizer", "Adam", "the nearest is optimizer=adamw: decoupled weight decay"),
        ("optimizer", "adamv", "did you mean adamw"),
        ("schedule", "CosineAnnealingLR", "did you mean cosine"),
        ("schedule", "OneCycleLR", "the nearest is schedule=cosine"),
        ("augment", "mixup", "did you mean augment.mixup=0.8?"),
        ("average", "true", "did you mean average=ema?"),
        ("export", "torchscript", "the nearest is export=timm: weights that timm loads"),
        ("model", "hf_hub:timm/cait_xxs24_224.fb_dist_in1k", "did you mean cait_xxs24_224?"),
        ("model", "vit_base_patch16_224", "Every model is a CaiT"),
        ("model", "r/cait_s24_224.pth", "For a file of weights write model.weights=r/cait_s24_224"),
        ("model", "r/best.pth", "For a file of weights write model.weights=r/best.pth, for a run"),
        ("dataset", "photos", "did you mean dataset=folder dataset.data_dir=photos?"),
        ("dataset", "a.csv", "did you mean dataset=csv dataset.data_dir=a.csv?"),
    ],
)
def test_an_option_of_a_group(group, option, hint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    options = sorted(path.stem for path in (data_folder("conf") / group).glob("*.yaml"))
    error = str(unknown_option(group, option, options))
    assert error.startswith(f"{group}: got {option}, expected one of {options[0]}, ")
    assert hint in error
