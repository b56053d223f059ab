"""The configuration refuses a key that nothing reads. A key that is read has a value."""

from __future__ import annotations

import dataclasses

import pytest
from omegaconf import OmegaConf

from cait_finetune import config as configuration
from cait_finetune.config.effect import CONDITIONS, READ_BY
from cait_finetune.config.root import without_effect
from tests.cait_finetune.stand_ins import checked, composed
from tests.cait_finetune.test_config import refusal

OPTION_KEYS = [
    ("optimizer=adamw", "optimizer.momentum=0.5", "sgd"), ("optimizer=adamw", "optimizer.momentum=0.9", "sgd"),
    ("optimizer=lion", "optimizer.nesterov=true", "sgd"), ("optimizer=sgd", "optimizer.beta_1=0.9", "adamw"),
    ("optimizer=sgd", "optimizer.beta_2=0.9", "adamw"), ("optimizer=lion", "optimizer.epsilon=1e-6", "adamw"),
    ("schedule=cosine", "schedule.step_epochs=30", "step"), ("schedule=linear", "schedule.factor=0.5", "step"),
    ("schedule=constant", "schedule.min_lr=0", "cosine"), ("average=none", "average.decay=0.9", "ema"),
    ("average=swa", "average.warmup=true", "ema"), ("average=ema", "average.swa_epochs=5", "swa"),
    ("loss=bce", "loss.gamma_negative=4", "asymmetric"), ("loss=auto", "loss.gamma_positive=1", "asymmetric"),
    ("loss=cross_entropy", "loss.clip=0.1", "asymmetric"),
    ("head=linear", "head.hidden=9", "mlp"), ("head=cosine", "head.drop_rate=0.1", "mlp"),
    ("head=mlp", "head.scale=4", "cosine"), ("task=classification", "task.alpha=0.2", "regression"),
    ("task=classification", "loss.weights=[1,2]", "several"),
]  # fmt: skip


@pytest.mark.parametrize(("choice", "word", "reader"), OPTION_KEYS)
def test_a_key_of_another_option(choice, word, reader):
    message = refusal(choice, word)
    key, group = word.partition("=")[0], choice.partition("=")[0]
    assert message.startswith(f"{key}: got ")
    option = choice.partition("=")[2]
    assert (
        f"expected null with {group}.{_discriminator(group)}={option}: the key is for {reader}"
        in message
    )
    assert message.endswith(f"Set {group}={reader}")


def _discriminator(group):
    (found,) = [one.partition(".")[2] for one in READ_BY if one.startswith(f"{group}.")]
    return found


OPTIONS = {"adamw": "optimizer=adamw", "lamb": "optimizer=lamb", "lion": "optimizer=lion",
           "schedule_free": "optimizer=schedule_free", "sgd": "optimizer=sgd"}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("choice", "key", "several"),
    [
        (choice, key, options)
        for choice, keys in READ_BY.items() if choice != "tuning.method"
        for key, options in keys.items() if key.partition(".")[0] == choice.partition(".")[0]
    ],
)  # fmt: skip
def test_each_option_brings_what_it_reads(choice, key, several):
    group, _, discriminator = choice.partition(".")
    for option in several:
        extra = ["task=multi_label"] * (option == "asymmetric")
        extra += ["schedule=constant"] * (option == "schedule_free")
        config = checked(f"{group}={option}", *extra)
        assert getattr(getattr(config, group), key.partition(".")[2]) is not None
        message = refusal(f"{group}={option}", *extra, f"{key}=null")
        assert message.startswith(
            f"{key}: got nothing, expected a value with {group}.{discriminator}="
        )
        assert message.endswith(f"Set {group}={option}: the file of the option sets {key}")


def test_an_option_without_its_file():
    message = refusal("optimizer.name=sgd")
    assert message.startswith("optimizer.beta_1: got 0.9, expected null with optimizer.name=sgd")


LBFGS = ["tuning=linear_probe", "tuning.solver=lbfgs"]
UNREAD = [
    ([], "augment.rand_magnitude=5", ["augment=rand"]), ([], "augment.rand_magnitude_std=1", ["augment=rand"]),
    ([], "augment.rand_probability=1", ["augment=deit"]), ([], "augment.mix_probability=0.5", ["augment.mixup=1"]),
    (["augment.mixup=1"], "augment.mix_switch_probability=0.1", ["augment.mixup=1", "augment.cutmix=1"]),
    (["tuning=linear_probe"], "augment.mixup=0.8", ["tuning=linear_probe", "tuning.cache_features=false"]),
    (["tuning=linear_probe"], "augment.repeats=3", []), (["tuning=linear_probe"], "augment.erasing=0.2", []),
    (["tuning=linear_probe"], "augment.color_jitter=0.2", []), (["tuning=linear_probe"], "augment.cutmix=0.2", []),
    (["tuning=linear_probe"], "augment.three_augment=true", []),
    (["tuning=linear_probe"], "augment.rand_operations=2", []),
    (["loss.class_weights=balanced"], "loss.effective_beta=0.9", ["loss.class_weights=effective"]),
    ([], "average.export=false", ["average=ema"]),
    (["distribution=cpu"], "distribution.devices=2", ["distribution=mirrored"]),
    (["distribution=gpu"], "distribution.cluster=slurm", ["distribution=multi_worker"]),
    ([], "distribution.port=4000", ["distribution=multi_worker"]),
    (["distribution=multi_worker", "distribution.cluster=tf_config"], "distribution.port=4000",
     ["distribution=multi_worker", "distribution.cluster=slurm"]),
    ([], "distribution.timeout=9", ["distribution=tpu"]), ([], "distribution.tpu=x", ["distribution=tpu"]),
    ([], "dataset.seed=3", ["dataset.folds=5"]),
    ([], "dataset.cache_dir=/x", ["dataset.cache=disk"]),
    (["dataset=folder"], "dataset.shuffle_buffer=9", ["dataset=folder", "dataset.cache=disk"]),
    (["dataset=csv"], "dataset.parallel_files=9", ["dataset=flowers"]),
    (["model.weights=none"], "model.weights_class_names=[a,b]", ["model.weights=pretrained"]),
    (["dataset=flowers"], "dataset.splits.shares=[0.5,0.25,0.25]", ["dataset=csv"]),
    (["dataset=imagenet_folder"], "dataset.splits.seed=5", ["dataset=folder"]),
    ([], "dataset.splits.file=/x", ["dataset=folder"]), (["dataset=folder"], "dataset.columns.label=x", ["dataset=csv"]),
    (["dataset=folder"], "dataset.columns.image=x", ["dataset=flowers"]),
    ([], "dataset.fold=1", ["dataset.folds=3"]),
    (["dataset=flowers"], "dataset.columns.split=x", ["dataset=csv"]),
    (["dataset=flowers"], "dataset.columns.weight=x", ["dataset=csv"]),
    (["dataset=flowers"], "dataset.columns.classes=[x,y]", ["dataset=csv"]),
    (["dataset=flowers"], "dataset.columns.targets=[x,y]", ["dataset=csv"]),
    (["dataset=folder"], "dataset.columns.labels=[x,y]", ["dataset=csv"]),
    (["dataset=flowers"], "dataset.columns.separator=';'", ["dataset=csv", "task=multi_label"]),
    (["dataset=csv", "task=multi_label", "dataset.columns.classes=[x,y]"], "dataset.columns.separator=';'", []),
    ([], "export.accuracy_images=9", ["export=litert", "export.quantise=[int8]"]),
    ([], "export.hub_private=false", ["export.push_to_hub=me/digits"]),
    (LBFGS, "train.patience=3", ["tuning=linear_probe"]), (LBFGS, "train.max_hours=3", []),
    (LBFGS, "checkpoint.every_steps=3", []), (LBFGS, "train.accumulation=1", []),
]  # fmt: skip


@pytest.mark.parametrize(("choices", "word", "reading"), UNREAD)
def test_a_key_that_nothing_reads(choices, word, reading):
    message = refusal(*choices, word)
    assert message.startswith(f"{word.partition('=')[0]}: got ")
    assert f" {word.partition('=')[0]} has an effect only with " in message
    if reading:
        assert checked(*reading, word)


def test_every_condition_is_tried():
    tried = {word.partition("=")[0] for _, word, _ in UNREAD}
    assert tried == {key for condition in CONDITIONS for key in condition.keys}
    keys = {key for keys_of_one in READ_BY.values() for key in keys_of_one}
    assert {word.partition("=")[0] for _, word, _ in OPTION_KEYS} == {
        key for key in keys if not key.startswith("tuning.")
    }


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["schedule.min_lr=0.1"], "schedule.min_lr"), (["schedule.warmup_lr=0.1"], "schedule.warmup_lr"),
        (["optimizer.base_lr=0"], "schedule.min_lr"),
        (["optimizer=sgd", "optimizer.base_lr=1e-3", "schedule.min_lr=9e-4"], "schedule.min_lr"),
    ],
)  # fmt: skip
def test_a_rate_above_the_peak(words, key):
    message = refusal(*words)
    assert message.startswith(f"{key}: got ")
    assert ", expected at most " in message


def test_rates_up_to_the_peak():
    assert checked("optimizer.base_lr=1e-3", "schedule.min_lr=1e-3", "schedule.warmup_lr=1e-3")
    assert checked("schedule.warmup_epochs=0", "schedule.warmup_lr=0.1")
    assert checked(
        "optimizer=sgd",
        "optimizer.base_lr=1e-3",
        "optimizer.lr_batch_size=null",
        "schedule.min_lr=9e-4",
    )


def test_lbfgs_makes_no_average():
    message = refusal(*LBFGS, "average=ema")
    assert message.startswith("average.method: got ema, expected none with tuning.solver=lbfgs")


OLD = {
    "optimizer": {"beta_1": 0.9, "momentum": 0.5, "nesterov": True},
    "schedule": {"step_epochs": 30.0, "factor": 0.3},
    "average": {"decay": 0.9998, "warmup": True, "swa_epochs": 7},
    "loss": {"gamma_negative": 4.0, "clip": 0.05, "effective_beta": 0.9},
    "distribution": {"port": 4000},
    "dataset": {"cache_dir": "/x", "splits": {"shares": [0.6, 0.2, 0.2]}},
}


def test_keys_without_effect_in_an_older_config_are_dropped():
    new = composed()
    old = OmegaConf.merge(new, OLD)
    plain = OmegaConf.create(OmegaConf.to_container(old))
    for config in (old, plain):
        assert OmegaConf.to_container(without_effect(config)) == OmegaConf.to_container(new)
    assert configuration.from_hydra(
        OmegaConf.merge(old, {"resume": "some/run"})
    ) == dataclasses.replace(checked(), resume="some/run")
    assert without_effect(new) == new
    assert OmegaConf.to_container(without_effect(OmegaConf.create({"seed": 1}))) == {"seed": 1}


TUNING_KEYS = {
    "linear_probe": {"solver": "sgd", "cache_features": "true", "cache_dir": "/x"},
    "head_then_full": {"head_epochs": "2"},
    "gradual": {"stages": "3", "stage_epochs": "2"},
    "lora": {"rank": "4", "alpha": "2", "targets": "qkv"},
    "pattern": {"pattern": "bias", "train_head": "false"},
}


def test_the_tuning_keys_are_all_there():
    listed = {key for keys_of_one in TUNING_KEYS.values() for key in keys_of_one}
    assert listed | {"method"} == set(configuration.TuningConfig.__dataclass_fields__)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "key"), [(method, key) for method, own in TUNING_KEYS.items() for key in own]
)
def test_a_tuning_key_belongs_to_its_method(method, key):
    value = TUNING_KEYS[method][key]
    others = {"full", *TUNING_KEYS} - {method, "pattern"}
    for other in others:
        message = refusal(f"tuning={other}", f"tuning.{key}={value}")
        assert message.startswith(f"tuning.{key}: got ")
        assert f"null with tuning.method={other}: the key is for {method}" in message
        assert f"Set tuning={method}" in message
    pattern = [] if key == "pattern" or method != "pattern" else ["tuning.pattern=bias"]
    config = checked(f"tuning={method}", f"tuning.{key}={value}", *pattern).tuning
    assert str(getattr(config, key)).lower() in (value, f"{value}.0")


@pytest.mark.parametrize(
    ("method", "key"),
    [(method, key) for method, own in TUNING_KEYS.items() for key in own
     if key not in ("cache_dir", "alpha", "pattern")],
)  # fmt: skip
def test_a_tuning_key_that_has_to_have_a_value(method, key):
    pattern = ["tuning.pattern=bias"] if method == "pattern" else []
    message = refusal(f"tuning={method}", *pattern, f"tuning.{key}=null")
    assert message.startswith(f"tuning.{key}: got nothing, expected a value with")
    assert f"Set tuning={method}" in message


def test_null_is_a_value_of_some_tuning_keys():
    assert checked("tuning=linear_probe", "tuning.cache_dir=null").tuning.cache_dir is None
    assert checked("tuning=lora", "tuning.alpha=null").tuning.alpha is None


def test_a_method_without_its_option():
    message = refusal("tuning.method=gradual")
    assert message.startswith("tuning.stages: got nothing")
    assert "Set tuning=gradual" in message


def test_a_pattern_has_no_default():
    message = refusal("tuning=pattern")
    assert message.startswith("tuning.pattern: got nothing")
    assert "Add tuning.pattern=" in message
    assert refusal("tuning=pattern", "tuning.pattern=''").startswith("tuning.pattern: got nothing")
