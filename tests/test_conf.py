"""The YAML files in conf/ and recipes/: each composes and names something that exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir

import cait_tf
from cait_finetune import config as configuration
from cait_finetune.errors import UserError
from tests.cait_finetune.stand_ins import CONF, checked, composed

RECIPES = CONF.parent / "recipes"
GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir())
OPTIONS = [
    f"{group}={path.stem}" for group in GROUPS for path in sorted((CONF / group).glob("*.yaml"))
]


def names(folder: Path) -> list[str]:
    return sorted(path.stem for path in folder.glob("*.yaml"))


def test_every_group_is_a_part_of_the_configuration():
    assert set(GROUPS) <= set(configuration.Config.__dataclass_fields__)
    assert not [path for path in CONF.rglob("*") if path.is_file() and path.suffix != ".yaml"]


@pytest.mark.slow
@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_composes(option):
    # Values that only the user can know, and required values of other keys.
    extra = {"dataset=tfds": ["dataset.name=mnist"], "tuning=pattern": ["tuning.pattern=norm"],
             "loss=asymmetric": ["task=multi_label"],
             **{f"loss={name}": ["task=regression"] for name in ("mse", "huber", "l1")}}  # fmt: skip
    config = checked(option, *extra.get(option, []))
    assert isinstance(config, configuration.Config)


@pytest.mark.parametrize("recipe", names(RECIPES))
def test_every_recipe_composes(recipe):
    configuration.register()
    with initialize_config_dir(version_base="1.3", config_dir=str(RECIPES)):
        node = compose(recipe, overrides=[f"hydra.searchpath=[file://{CONF}]"])
    assert configuration.from_hydra(node).train.epochs >= 1


@pytest.mark.parametrize("recipe", names(RECIPES))
def test_every_recipe_begins_with_its_command(recipe):
    first = (RECIPES / f"{recipe}.yaml").read_text().splitlines()[0]
    assert re.match(rf"# python -m cait_finetune( evaluate)? -cn {recipe}\b", first)


def test_the_models_are_the_variants():
    assert names(CONF / "model") == sorted(cait_tf.VARIANTS)


@pytest.mark.parametrize("name", sorted(cait_tf.VARIANTS))
def test_a_model_option_names_itself_and_weights_that_exist(name):
    config = checked(f"model={name}").model
    assert config.name == name
    assert config.weights == ("hub" if cait_tf.VARIANTS[name].published else "pretrained")
    assert config.image_size is None


def test_a_model_may_bring_its_own_training_settings():
    nano, other = checked(), checked("model=cait_s24_224")
    own = yaml.safe_load((CONF / "model" / "cait_nano_32.yaml").read_text())
    rates = yaml.safe_load((CONF / "optimizer" / "adamw_small.yaml").read_text())
    general = yaml.safe_load((CONF / "config.yaml").read_text())
    assert nano.train.batch_size == own["train"]["batch_size"] != general["train"]["batch_size"]
    assert other.train.batch_size == general["train"]["batch_size"]
    assert nano.optimizer.base_lr == rates["base_lr"] != other.optimizer.base_lr
    assert checked("train.batch_size=2").train.batch_size == 2


@pytest.mark.slow
def test_tuning_options_are_all_methods():
    options = set(names(CONF / "tuning"))
    methods = {
        name: checked(f"tuning={name}", *["tuning.pattern=x"] * (name == "pattern")).tuning.method
        for name in options
    }
    assert methods.pop("bitfit") == "pattern"
    assert {name: name for name in options - {"bitfit"}} == methods
    with pytest.raises(UserError) as caught:
        checked("tuning.method=none")
    listed = str(caught.value).partition("one of ")[2].splitlines()[0]
    assert set(listed.split(", ")) == set(methods)


def test_bitfit_is_every_bias():
    pattern = checked("tuning=bitfit").tuning.pattern
    matched = [path for path in ("a/norm/beta", "a/fc1/bias", "a/fc1/kernel", "a/gamma_1/gamma",
                                 "bias_model/head/kernel") if re.search(pattern, path)]  # fmt: skip
    assert matched == ["a/norm/beta", "a/fc1/bias"]


def plain(option):
    """Strip the suffix of an option that only adapts another option to some models."""
    return re.sub("_(from_scratch|small)$", "", option)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "key"),
    [("distribution", "strategy"), ("average", "method"), ("debug", "mode"), ("optimizer", "name"),
     ("schedule", "name"), ("loss", "name"), ("head", "name")],
)  # fmt: skip
def test_an_option_is_named_for_what_it_chooses(group, key):
    for name in names(CONF / group):
        extra = ["task=multi_label"] * (name == "asymmetric")
        extra += ["task=regression"] * (name in ("mse", "huber", "l1"))
        chosen = getattr(getattr(checked(f"{group}={name}", *extra), group), key)
        assert chosen == plain(name)
    refused = pytest.raises(UserError, match=rf"{group}\.{key}: got 'x', expected one of")
    with refused as error:
        checked(f"{group}.{key}=x")
    expected = str(error.value).partition("expected one of ")[2].splitlines()[0].split(", ")
    assert sorted(expected) == sorted({plain(name) for name in names(CONF / group)})


@pytest.mark.parametrize("optimizer", ["sgd", "lion", "lamb", "schedule_free"])
def test_the_small_model_takes_another_optimizers_own_rate(optimizer):
    own = yaml.safe_load((CONF / "optimizer" / f"{optimizer}.yaml").read_text())
    config = checked(f"optimizer={optimizer}").optimizer
    assert (config.base_lr, config.layer_decay) == (own["base_lr"], own["layer_decay"])


def test_nothing_is_left_without_a_value():
    """Only `dataset=tfds` has a required key. The defaults have none."""
    assert "???" not in str(composed())
    asking = [
        path.relative_to(CONF).as_posix()
        for path in CONF.rglob("*.yaml")
        if ": ???" in path.read_text()
    ]
    assert asking == ["dataset/tfds.yaml"]


def test_digits_are_never_mirrored():
    assert not checked("dataset=digits").dataset.allow_flip
    assert checked("dataset=flowers").dataset.allow_flip
