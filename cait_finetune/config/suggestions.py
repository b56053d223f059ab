"""Suggest keys and options for words that the configuration does not have."""

from __future__ import annotations

import dataclasses
import difflib
import glob
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

from cait_finetune.config.advice import advise
from cait_finetune.config.keys import Declared, declared
from cait_finetune.config.kinds import element_type, takes, type_words
from cait_finetune.config.meanings import WEIGHTS, choice_for
from cait_finetune.config.places import data_folder
from cait_finetune.config.root import Config
from cait_finetune.errors import UserError, bad_value, suggest

#: Names that other frameworks give to our keys and groups.
ALIASES: dict[str, tuple[str, ...]] = {
    "aa": ("augment",),
    "amp": ("train.precision",),
    "arch": ("model",),
    "backbone": ("model",),
    "bs": ("train.batch_size",),
    "batch": ("train.batch_size",),
    "betas": ("optimizer.beta_1", "optimizer.beta_2"),
    "beta": ("optimizer.beta_1", "optimizer.beta_2"),
    "checkpoint_path": ("model.weights",),
    "ckpt": ("model.weights",),
    "classes": ("dataset.class_names", "dataset.num_classes"),
    "data": ("dataset.data_dir", "dataset"),
    "data_path": ("dataset.data_dir",),
    "path": ("dataset.data_dir",),
    "dir": ("dataset.data_dir",),
    "train_dir": ("dataset.data_dir",),
    "train_path": ("dataset.data_dir",),
    "images": ("dataset.data_dir",),
    "image_folder": ("dataset.data_dir",),
    "format": ("export",),
    "cos_lr": ("schedule",),
    "gradient_checkpointing": ("model.remat",),
    "grad_checkpointing": ("model.remat",),
    "validation_split": ("dataset.splits.shares",),
    "val_split": ("dataset.splits.shares",),
    "device": ("distribution",),
    "devices": ("distribution.devices",),
    "dropout": ("model.drop_rate",),
    "drop": ("model.drop_rate",),
    "drop_path": ("model.drop_path_rate",),
    "reprob": ("augment.erasing",),
    "random_erase": ("augment.erasing",),
    "random_erasing": ("augment.erasing",),
    "mixup_alpha": ("augment.mixup",),
    "cutmix_alpha": ("augment.cutmix",),
    "early_stopping": ("train.patience",),
    "early_stopping_patience": ("train.patience",),
    "epoch": ("train.epochs",),
    "freeze": ("tuning",),
    "freeze_backbone": ("tuning",),
    "feature_extract": ("tuning",),
    "fp16": ("train.precision",),
    "gpus": ("distribution.devices",),
    "grad_accum_steps": ("train.accumulation",),
    "gradient_accumulation_steps": ("train.accumulation",),
    "grad_clip": ("train.clip_norm",),
    "clip_grad": ("train.clip_norm",),
    "gradient_clip_val": ("train.clip_norm",),
    "max_grad_norm": ("train.clip_norm",),
    "img_size": ("model.image_size",),
    "imgsz": ("model.image_size",),
    "input_size": ("model.image_size",),
    "resolution": ("model.image_size",),
    "lr": ("optimizer.base_lr",),
    "lr0": ("optimizer.base_lr",),
    "learning_rate": ("optimizer.base_lr",),
    "llrd": ("optimizer.layer_decay",),
    "loss_fn": ("loss",),
    "lr_scheduler": ("schedule",),
    "lr_scheduler_type": ("schedule",),
    "sched": ("schedule",),
    "scheduler": ("schedule",),
    "max_epochs": ("train.epochs",),
    "max_steps": ("train.steps",),
    "method": ("tuning",),
    "metric_for_best_model": ("dataset.metric",),
    "monitor": ("dataset.metric",),
    "num_training": ("lr_find.steps",),
    "mixed_precision": ("train.precision",),
    "name": ("hydra.run.dir", "logger.wandb.name"),
    "net": ("model",),
    "num_epochs": ("train.epochs",),
    "num_train_epochs": ("train.epochs",),
    "num_workers": ("dataset.parallel_calls",),
    "workers": ("dataset.parallel_calls",),
    "opt": ("optimizer",),
    "optim": ("optimizer",),
    "output": ("hydra.run.dir",),
    "output_dir": ("hydra.run.dir",),
    "save_dir": ("hydra.run.dir",),
    "per_device_train_batch_size": ("train.batch_size",),
    "pretrained": ("model.weights",),
    "report_to": ("logger",),
    "project": ("logger.wandb.project", "hydra.run.dir"),
    "random_seed": ("seed",),
    "run": ("resume",),
    "root": ("dataset.data_dir",),
    "shots": ("dataset.examples_per_class",),
    "smoothing": ("train.label_smoothing",),
    "split": ("evaluation.split", "dataset.splits.shares"),
    "splits": ("dataset.splits.shares",),
    "save_total_limit": ("checkpoint.keep",),
    "shuffle": ("dataset.shuffle_buffer",),
    "warmup": ("schedule.warmup_epochs",),
    "warmup_ratio": ("schedule.warmup_epochs",),
    "r": ("tuning.rank",),
    "lora_r": ("tuning.rank",),
    "lora_alpha": ("tuning.alpha",),
    "bf16": ("train.precision",),
    "wd": ("optimizer.weight_decay",),
    "onnx": ("export",),
    "lora": ("tuning",),
    "linear_probe": ("tuning",),
    "ema": ("average",),
    "swa": ("average",),
    "wandb": ("logger",),
    "weights": ("model.weights",),
    "weight": ("loss.class_weights",),
}
#: Options of other frameworks: the nearest option here, and how it differs.
OPTIONS = {
    (
        "augment",
        "autoaugment",
    ): "augment=rand: RandAugment, which draws its operations at random",
    ("augment", "mixup"): "augment.mixup=0.8",
    ("augment", "cutmix"): "augment.cutmix=1",
    ("augment", "randaugment"): "augment=rand",
    (
        "augment",
        "trivialaugment",
    ): "augment=rand augment.rand_operations=1: one operation per image",
    ("distribution", "ddp"): "distribution=mirrored: all GPUs of this machine in one process",
    ("distribution", "cuda"): "distribution=gpu",
    ("distribution", "slurm"): "distribution=multi_worker distribution.cluster=slurm",
    ("export", "tflite"): "export=litert",
    ("export", "h5"): "export=keras",
    ("export", "torch"): "export=timm: weights that timm loads",
    ("average", "true"): "average=ema",
    ("dataset", "imagefolder"): "dataset=folder",
    ("export", "pt"): "export=timm: weights that timm loads",
    ("export", "pytorch"): "export=timm: weights that timm loads",
    ("export", "torchscript"): "export=timm: weights that timm loads",
    ("logger", "tb"): "logger=tensorboard",
    ("logger", "mlflow"): "logger=csv: steps.csv and epochs.csv",
    ("loss", "ce"): "loss=cross_entropy",
    (
        "loss",
        "focal",
    ): "loss=cross_entropy loss.class_weights=balanced: for several labels, loss=asymmetric is focal",
    (
        "optimizer",
        "adam",
    ): "optimizer=adamw: decoupled weight decay; optimizer.weight_decay=0 is Adam",
    ("optimizer", "rmsprop"): "optimizer=adamw optimizer.beta_1=0: with bias correction",
    ("optimizer", "momentum"): "optimizer=sgd optimizer.momentum=0.9",
    ("optimizer", "lars"): "optimizer=lamb: Adam's moments instead of momentum",
    (
        "schedule",
        "onecycle",
    ): "schedule=cosine schedule.warmup_epochs=3: the momentum is constant",
    ("schedule", "multistep"): "schedule=step: a reduction after every N epochs",
    ("schedule", "poly"): "schedule=linear: a polynomial of degree 1",
    ("schedule", "none"): "schedule=constant",
    ("schedule", "plateau"): "schedule=step train.patience=3: reductions ignore validation",
    ("tuning", "adapter"): "tuning=lora",
    (
        "tuning",
        "freeze",
    ): "tuning=linear_probe: the head alone; head_then_full: first the head alone",
    ("tuning", "frozen"): "tuning=linear_probe",
    ("tuning", "freeze_backbone"): "tuning=linear_probe",
    ("tuning", "feature_extract"): "tuning=linear_probe",
    ("tuning", "finetune"): "tuning=full",
    ("tuning", "head"): "tuning=linear_probe",
}
#: A group and a value of another framework, and our option with the same meaning.
_VALUES = {
    ("distribution", "0"): "gpu",
    ("distribution", "cuda"): "gpu",
    **{("task", word): "classification" for word in ("false", "0", "no", "null")},
}
#: Keys of other frameworks whose values have another unit than ours.
_OTHER_UNIT = ("warmup_ratio",)
#: Prefixes of keys that have no effect alone, and the word that they also need.
_BESIDE = {"logger.wandb.": "logger=wandb"}
_TABLES = (".csv", ".tsv")
_WEIGHTS = (".safetensors", ".pth", ".pt", ".tar", ".bin", ".h5", ".keras", ".npz", ".ckpt")


@cache
def all_keys() -> tuple[str, ...]:
    """Return every key of the configuration, such as ``train.epochs``, without groups."""
    return tuple(_leaves(Config, ""))


@cache
def all_groups() -> tuple[str, ...]:
    """Return every group and subgroup, such as ``dataset`` and ``dataset.columns``."""
    parents = [key.split(".")[:-1] for key in all_keys()]
    return tuple(dict.fromkeys(".".join(one[: n + 1]) for one in parents for n in range(len(one))))


def _leaves(schema: Any, prefix: str) -> Iterator[str]:
    hints = get_type_hints(schema)
    for field in dataclasses.fields(schema):  # without class variables
        if dataclasses.is_dataclass(hints[field.name]):
            yield from _leaves(hints[field.name], f"{prefix}{field.name}.")
        else:
            yield prefix + field.name


def nearest(key: str) -> list[str]:
    """Return at most three keys or groups that the user may have meant, the nearest first.

    The order is: names of other frameworks, keys with the same last part, similar keys.
    """
    group, _, leaf = key.lower().replace("-", "_").rpartition(".")
    aliases = ALIASES.get(leaf, ())
    same = [one for one in all_keys() if one.rpartition(".")[2] == leaf]
    found = [*aliases, *same] if group or not aliases else [*aliases]
    inside = [one for one in found if group and f".{group}." in f".{one}"]
    names = [one.removeprefix(f"{group}.") for one in all_keys() if one.startswith(f"{group}.")]
    close = [] if inside or aliases else difflib.get_close_matches(leaf, names, 3, 0.6)
    if inside or close or found:
        return list(dict.fromkeys(inside or [f"{group}.{name}" for name in close] or found))[:3]
    known = [*all_keys(), *all_groups()]
    roots = [one for one in known if "." not in one]
    if not group and (close := difflib.get_close_matches(leaf, roots, 1, 0.75)):
        return close
    if not names and (close := difflib.get_close_matches(key.lower(), known, 3, 0.75)):
        return close
    leaves = difflib.get_close_matches(leaf, {one.rpartition(".")[2] for one in known}, 3, 0.7)
    close = [one for name in leaves for one in known if one.rpartition(".")[2] == name]
    return (close or [*_groups_with(leaf)])[:3]


@cache
def _groups_with(option: str) -> tuple[str, ...]:
    """Return the groups that have an option of this name."""
    files = data_folder("conf").glob(f"*/{glob.escape(option)}.yaml")
    return tuple(sorted(path.parent.name for path in files))


def unknown_key(key: str, value: str | None = None) -> UserError:
    """Return the error for a key that the configuration does not have.

    Args:
        value: the typed value, which the suggestion repeats. `None`: unknown.
    """
    near = nearest(key)
    if value is not None:
        near = [one for one in near if one in all_groups() or fits(one, value)] or near
        if "dataset.data_dir" in near and Path(value).is_dir():
            near = ["dataset.data_dir"]
        for alias in ALIASES.get(key.rpartition(".")[2], ()):
            if alias in all_keys() and (rule := _leaf(alias)[1]) and value in rule.choices:
                near = [alias]  # split=test
    group = key.rpartition(".")[0]
    if group in all_groups():
        names = [one.removeprefix(f"{group}.") for one in all_keys() if one.startswith(f"{group}.")]
        expected = f"one of {', '.join(names)}"
    elif near:
        expected = "a key of the configuration"
    else:
        roots = dict.fromkeys(one.partition(".")[0] for one in all_keys())
        expected = f"one of {', '.join(roots)}"
    hint = "cait-finetune --help keys shows every key"
    if near:
        meant = " or ".join(_written(one, key, value) for one in near)
        hint = f"did you mean {meant}?"
    return bad_value(key, "an unknown key", expected, hint)


def _written(near: str, key: str, value: str | None) -> str:
    """Return the suggestion: a key with the typed value, or a group with the option meant."""
    if value is None:
        return near
    if near not in all_groups():
        beside = [word for start, word in _BESIDE.items() if near.startswith(start)]
        if near == "dataset.data_dir" and Path(value).is_dir():
            beside = ["dataset=folder"]
        leaf = key.rpartition(".")[2]
        switched_on = value.lower() in ("true", "1") and meant_value(near, leaf)  # fp16=true
        typed = None if leaf in _OTHER_UNIT else switched_on or meant_value(near, value)
        if near == "hydra.run.dir" and Path(value).suffix:
            typed = None  # x.csv is no directory
        word = f"{near}=… ({kind_words(near)})" if typed is None else f"{near}={typed}"
        return " ".join([*beside, word])
    leaf = key.rpartition(".")[2]
    options = [path.stem for path in (data_folder("conf") / near).glob("*.yaml")]
    meant = _VALUES.get((near, value.partition(":")[0].lower()))  # cuda:0
    if option := meant or next((one for one in (value, leaf) if one in options), None):
        return f"{near}={option}"
    for name in (value, leaf):
        if meant := OPTIONS.get((near, name)):
            return meant.partition(":")[0]
    if beginning := [one for one in options if len(one) > 2 and value.lower().startswith(one)]:
        return f"{near}={beginning[0]}"  # rand-m9-mstd0.5
    return f"{near}=…"


@cache
def _leaf(key: str) -> tuple[Any, Declared | None]:
    """Return the type and the declaration of a key. A key of Hydra: text, and no declaration."""
    *groups, leaf = key.split(".")
    schema: Any = Config
    if groups and groups[0] == "hydra":
        return str, None
    for group in groups:
        schema = get_type_hints(schema)[group]
    (field,) = [one for one in dataclasses.fields(schema) if one.name == leaf]
    return get_type_hints(schema)[leaf], declared(field)


def fits(key: str, value: str) -> bool:
    """Return whether a key takes the typed value, or our value with the same meaning."""
    return meant_value(key, value) is not None


def meant_value(key: str, value: str) -> str | None:
    """Return the typed value, or our value that means the same. `None`: the key takes neither."""
    hint, rule = _leaf(key)
    if rule and rule.choices:
        return value if value in rule.choices else choice_for(value, rule.choices)
    if key == "model.weights":
        return choice_for(value, WEIGHTS) or value
    return value if takes(hint, value, rule) else None


def kind_words(key: str, other: str = "") -> str:
    """Return what a key takes, such as ``a whole number``. `other` is the type of a Hydra key."""
    key, element, _ = key.partition("[")  # augment.crop_scale[0]
    if key not in all_keys():
        return f"a value of type {other}" if other else "a directory"
    hint, rule = _leaf(key)
    if element:
        return type_words(element_type(hint))
    if rule and (rule.choices or rule.takes):
        return f"one of {', '.join(rule.choices)}" if rule.choices else rule.takes
    return type_words(hint)


def option_meant(group: str, option: str) -> str:
    """Return the word for an option of a group, or for our equivalent of another framework's option."""
    return OPTIONS.get((group, option), f"{group}={option}").partition(":")[0]


def unknown_option(group: str, option: str, options: list[str]) -> UserError:
    """Return the error for an option that a group does not have."""
    inside = [one for one in options if one in option.lower()]  # cosine in CosineAnnealingLR
    hint = suggest(option, options) or (f"did you mean {inside[0]}?" if inside else "")
    plain = option.lower().replace("-", "").replace("_", "").replace("lr", "")
    if not hint and group == "model":
        hint = "Every model is a CaiT"
    for (of_group, name), meant in OPTIONS.items():
        if of_group == group and name.replace("_", "") == plain:
            hint = f"did you mean {meant}?" if ":" not in meant else f"the nearest is {meant}"
    a_file = Path(option).exists() or Path(option).suffix in _WEIGHTS
    if group == "model" and (a_file or ("/" in option and not inside)):
        hint = f"For a file of weights write {advise('model.weights', option)}, for a run run=RUN"
    if group == "dataset" and Path(option).is_dir():
        hint = f"did you mean dataset=folder {advise('dataset.data_dir', option)}?"
    elif group == "dataset" and Path(option).suffix.lower() in _TABLES:
        hint = f"did you mean dataset=csv {advise('dataset.data_dir', option)}?"
    return bad_value(group, option or "nothing", f"one of {', '.join(options)}", hint)
