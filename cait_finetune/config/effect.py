"""Refuse keys that have no effect with the other choices of a configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, TypeAlias

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cait_finetune.config.mappings import merge
from cait_finetune.errors import bad_value

#: A `Config`, or a DictConfig with its schema. Importing the class would be circular.
Config: TypeAlias = Any

_ADAM = ("adamw", "lamb", "schedule_free")

#: Keys that only some options of their group read, with the names of these options. The option's file in
#: ``conf/`` sets the key. With every other option the key is null.
READ_BY = {
    "tuning.method": {
        "tuning.solver": ("linear_probe",),
        "tuning.cache_features": ("linear_probe",),
        "tuning.cache_dir": ("linear_probe",),
        "tuning.head_epochs": ("head_then_full",),
        "tuning.stages": ("gradual",),
        "tuning.stage_epochs": ("gradual",),
        "tuning.rank": ("lora",),
        "tuning.alpha": ("lora",),
        "tuning.targets": ("lora",),
        "tuning.pattern": ("pattern",),
        "tuning.train_head": ("pattern",),
    },
    "optimizer.name": {
        "optimizer.beta_1": (*_ADAM, "lion"),
        "optimizer.beta_2": (*_ADAM, "lion"),
        "optimizer.epsilon": _ADAM,
        "optimizer.momentum": ("sgd",),
        "optimizer.nesterov": ("sgd",),
    },
    "schedule.name": {
        "schedule.min_lr": ("cosine", "linear", "step", "ramp_decay"),
        "schedule.step_epochs": ("step",),
        "schedule.factor": ("step", "ramp_decay"),
    },
    "average.method": {
        "average.decay": ("ema",),
        "average.warmup": ("ema",),
        "average.swa_epochs": ("swa",),
    },
    "task.name": {
        "task.alpha": ("regression",),
        "loss.weights": ("several",),
    },
    "head.name": {
        "head.hidden": ("mlp",),
        "head.drop_rate": ("mlp",),
        "head.scale": ("cosine",),
    },
    "loss.name": {
        "loss.gamma_negative": ("asymmetric",),
        "loss.gamma_positive": ("asymmetric",),
        "loss.clip": ("asymmetric",),
    },
}
#: Keys for which null is valid even if the chosen option reads them.
_NULL_IS_A_VALUE = ("tuning.cache_dir", "tuning.alpha", "loss.weights")
_WITHOUT_DEFAULT = ("tuning.pattern",)


@dataclass(frozen=True)
class Condition:
    """Keys that have a default, and have an effect only in some configurations.

    Attributes:
        keys: full names of the keys.
        read: function that returns whether the keys have an effect in a configuration.
        where: the condition in words, for messages and the reference of keys.
        hint: what the user can do, for the message.
    """

    keys: tuple[str, ...]
    read: Callable[[Config], bool]
    where: str
    hint: str


def _reads_image_files(config: Config) -> bool:
    return config.dataset.source in ("folder", "csv")


def _draws(config: Config) -> bool:
    """Return whether training takes folds or a random subset of its split."""
    keys = ("folds", "examples_per_class", "train_share")
    return any(getattr(config.dataset, key) is not None for key in keys)


def _has_default_slices(config: Config) -> bool:
    """Return whether a TFDS split is null. Default slices replace it, and a seed may draw them."""
    splits = config.dataset.splits
    own = None in (splits.train, splits.validation, splits.test)
    return own and config.dataset.source in ("tfds", "digits")


def takes_steps(config: Config) -> bool:
    """Return whether the run trains in steps."""
    return config.tuning.solver != "lbfgs"


def no_cached_features(config: Config) -> bool:
    """Return whether training reads images. Otherwise it reads cached features, without augmentation."""
    return not config.tuning.cache_features


CONDITIONS = (
    Condition(
        ("augment.rand_magnitude", "augment.rand_magnitude_std", "augment.rand_probability"),
        lambda config: config.augment.rand_operations > 0,
        "augment.rand_operations above 0",
        "Add augment.rand_operations=2.",
    ),
    Condition(
        ("augment.mix_probability",),
        lambda config: config.augment.mixup > 0 or config.augment.cutmix > 0,
        "augment.mixup or augment.cutmix above 0",
        "Add augment.mixup=0.8.",
    ),
    Condition(
        ("augment.mix_switch_probability",),
        lambda config: config.augment.mixup > 0 and config.augment.cutmix > 0,
        "augment.mixup and augment.cutmix above 0",
        "Add augment.mixup=0.8 augment.cutmix=1.",
    ),
    Condition(
        tuple(f"augment.{key}" for key in (
            "rand_operations", "three_augment", "color_jitter", "erasing", "mixup", "cutmix", "repeats"
        )),
        no_cached_features,
        "tuning.cache_features other than true",
        "Add tuning.cache_features=false, or augment=none.",
    ),
    Condition(
        ("loss.effective_beta",),
        lambda config: config.loss.class_weights == "effective",
        "loss.class_weights=effective",
        "Add loss.class_weights=effective.",
    ),
    Condition(
        ("average.export",),
        lambda config: config.average.method != "none",
        "average=ema or swa",
        "Add average=ema.",
    ),
    Condition(
        ("distribution.devices",),
        lambda config: config.distribution.strategy in ("auto", "mirrored"),
        "distribution=auto or mirrored",
        "Choose distribution=mirrored.",
    ),
    Condition(
        ("distribution.cluster",),
        lambda config: config.distribution.strategy == "multi_worker",
        "distribution=multi_worker",
        "Choose distribution=multi_worker.",
    ),
    Condition(
        ("distribution.port",),
        lambda config: config.distribution.strategy == "multi_worker"
        and config.distribution.cluster != "tf_config",
        "distribution=multi_worker on a SLURM cluster",
        "Choose distribution=multi_worker distribution.cluster=slurm.",
    ),
    Condition(
        ("distribution.timeout",),
        lambda config: config.distribution.strategy in ("multi_worker", "tpu"),
        "distribution=multi_worker or tpu",
        "Choose distribution=multi_worker.",
    ),
    Condition(
        ("distribution.tpu",),
        lambda config: config.distribution.strategy == "tpu",
        "distribution=tpu",
        "Choose distribution=tpu.",
    ),
    Condition(
        ("dataset.cache_dir",),
        lambda config: config.dataset.cache == "disk",
        "dataset.cache=disk",
        "Add dataset.cache=disk.",
    ),
    Condition(
        ("dataset.shuffle_buffer",),
        lambda config: config.dataset.source in ("tfds", "digits") or config.dataset.cache != "none",
        "a TFDS set, or a cache of images",
        "Leave the key out: the loader shuffles the list of all files.",
    ),
    Condition(
        ("dataset.parallel_files",),
        lambda config: config.dataset.source in ("tfds", "digits"),
        "a TFDS set",
        "Set dataset.parallel_calls instead.",
    ),
    Condition(
        ("model.weights_class_names",),
        lambda config: config.model.weights != "none",
        "model.weights other than none",
        "Leave the key out, or add model.weights=FILE.",
    ),
    Condition(
        ("dataset.splits.shares", "dataset.splits.file"),
        _reads_image_files,
        "dataset=folder or csv",
        "Set dataset.splits.train, validation and test instead.",
    ),
    Condition(
        ("dataset.splits.seed",),
        lambda config: _reads_image_files(config) or _draws(config) or _has_default_slices(config),
        "dataset=folder or csv; a TFDS split that is null; or dataset.examples_per_class, "
        "train_share or folds",
        "Leave the key out: these splits are fixed.",
    ),
    Condition(
        ("dataset.seed",),
        lambda config: _draws(config),
        "dataset.examples_per_class, train_share or folds",
        "Set seed for the run's other random draws.",
    ),
    Condition(
        ("dataset.fold",),
        lambda config: config.dataset.folds is not None,
        "dataset.folds",
        "Add dataset.folds=5.",
    ),
    Condition(
        ("dataset.columns.image", "dataset.columns.label"),
        lambda config: config.dataset.source in ("csv", "tfds", "digits"),
        "dataset=csv, or a TFDS set",
        "Choose dataset=csv.",
    ),
    Condition(
        ("dataset.columns.split", "dataset.columns.weight", "dataset.columns.classes"),
        lambda config: config.dataset.source == "csv",
        "dataset=csv",
        "Choose dataset=csv.",
    ),
    Condition(
        ("dataset.columns.labels",),
        lambda config: config.dataset.source in ("csv", "tfds", "digits"),
        "dataset=csv, or a TFDS set",
        "Choose dataset=csv.",
    ),
    Condition(
        ("dataset.columns.targets",),
        lambda config: config.dataset.source == "csv",
        "dataset=csv",
        "Choose dataset=csv, or name the feature of a TFDS set with dataset.columns.label.",
    ),
    Condition(
        ("dataset.columns.separator",),
        lambda config: config.dataset.source == "csv" and not config.dataset.columns.classes,
        "dataset=csv and dataset.columns.classes=null",
        "Leave the key out.",
    ),
    Condition(
        ("export.accuracy_images",),
        lambda config: bool(config.export.quantise),
        "export.quantise other than []",
        "Add export=litert 'export.quantise=[int8]'.",
    ),
    Condition(
        ("export.hub_private",),
        lambda config: config.export.push_to_hub is not None,
        "export.push_to_hub other than null",
        "Add export.push_to_hub=USER/NAME.",
    ),
    Condition(
        ("train.patience", "train.max_hours", "checkpoint.every_steps",
         "train.accumulation"),
        takes_steps,
        "tuning.solver other than lbfgs",
        "Add tuning.solver=sgd.",
    ),
)  # fmt: skip


def check_effect(config: Config) -> None:
    """Refuse a value for an unread key, and a missing value for a key that is read.

    Raises:
        UserError: a key has a value without effect, or lacks a value.
    """
    for choice, keys in READ_BY.items():
        chosen = attrgetter(choice)(config)
        for key, options in keys.items():
            _check_option(key, attrgetter(key)(config), choice, chosen, options)
    for condition, key in unread(config):
        value, default = attrgetter(key)(config), _default(config, key)
        if value != default:
            shown = "null" if default is None else default
            raise bad_value(
                key,
                repr(value),
                f"the default, {shown}: {key} has an effect only with {condition.where}",
                condition.hint,
            )


def reset_without_effect(config: DictConfig, schema: DictConfig) -> DictConfig:
    """Set values that had no effect on a run to null or to the key's default.

    Older versions recorded keys without effect, such as ``optimizer.momentum: 0.9`` with AdamW.

    Args:
        schema: every key with its type.

    Returns:
        A copy, or `config` itself if a group is missing or a value is invalid.
    """
    cleaned = config.copy()
    try:
        whole: Config = merge(schema, config)
        for choice, keys in READ_BY.items():
            chosen = OmegaConf.select(whole, choice)
            for key, options in keys.items():
                if chosen not in options:
                    _reset(cleaned, key, None)
        for _, key in list(unread(whole)):
            _reset(cleaned, key, _default(whole, key))
    except (OmegaConfBaseException, AttributeError):  # AttributeError: a missing group
        return config  # the checks of the configuration report the error
    return cleaned


def unread(config: Config) -> Iterator[tuple[Condition, str]]:
    """Yield each key of `CONDITIONS` that has no effect with these choices, and its condition."""
    for condition in CONDITIONS:
        if not condition.read(config):
            yield from ((condition, key) for key in condition.keys)


def _reset(config: DictConfig, key: str, value: Any) -> None:
    if OmegaConf.select(config, key) is not None:
        OmegaConf.update(config, key, value)


def _default(config: Config, key: str) -> Any:
    """Return the default of a key in its dataclass."""
    group, _, name = key.rpartition(".")
    owner = attrgetter(group)(config)
    schema: Any = OmegaConf.get_type(owner) if isinstance(owner, DictConfig) else type(owner)
    (field,) = [field for field in dataclasses.fields(schema) if field.name == name]
    return (
        field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    )


def _check_option(key: str, value: Any, choice: str, chosen: str, options: tuple[str, ...]) -> None:
    group = choice.partition(".")[0]
    if chosen not in options and value is not None:
        raise bad_value(
            key,
            repr(value),
            f"null with {choice}={chosen}: the key is for {', '.join(options)}",
            f"Set {group}={options[0]}",
        )
    if chosen in options and value is None and key not in _NULL_IS_A_VALUE:
        add = (
            f"Add {key}=…"
            if key in _WITHOUT_DEFAULT
            else f"Set {group}={chosen}: the file of the option sets {key}"
        )
        raise bad_value(key, "nothing", f"a value with {choice}={chosen}", add)
