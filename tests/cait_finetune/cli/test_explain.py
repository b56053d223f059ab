"""Our answers to errors of Hydra and OmegaConf, tested with the words that cause the errors."""

from __future__ import annotations

import re

import pytest
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from cait_finetune.cli.compose import configure
from cait_finetune.cli.explain import RULES, Problem, explain
from cait_finetune.errors import UserError
from tests.cait_finetune.stand_ins import composed

#: Command-line words, the function that answers them, and a part of its message.
ROWS = [
    (["optimizer.base_lr=[1"], "_cannot_parse", "needs its own quotes"),
    (["train.epoch=3"], "_unknown_key", "did you mean train.epochs"),
    (["hydra/launcher=slurm"], "_no_plugin", "hydra/launcher: got slurm"),
    (["optimizer=adam"], "_no_option", "optimizer: got adam, expected one of"),
    (["optimiser=adamw"], "_unknown_key", "did you mean optimizer"),
    (["debug@other=none"], "_no_group", "debug@other: got an unknown key"),
    (
        ["train.epochs=many"],
        "_wrong_type",
        "train.epochs: got 'many', expected a whole number, or null",
    ),
    (["train.batch_size=null"], "_not_optional", "train.batch_size: got null, expected a value"),
    (["dataset.name=${nowhere}"], "_no_interpolation", "got ${nowhere}, expected a key"),
    (["model.weights=[a,b]"], "_not_text", "expected one text"),
    (["augment.crop_scale=1"], "_not_list", "expected a list: 'augment.crop_scale=[…]'"),
    (["train=[1]"], "_other_structure", "train: got a list, expected keys and values"),
    (["augment.crop_scale={a:1}"], "_other_structure", "got keys and values, expected a list"),
    (["model.weights=${oc.env:NOWHERE}"], "_no_variable", "Set NOWHERE, or write"),
    (["train=5"], "_value_for_keys", "train is a group; set its keys, as in train.epochs=…"),
    (["checkpoint=a.pth"], "_value_for_keys", "To start from weights write model.weights=a.pth"),
    (["model.image_size=(64,48)"], "_cannot_parse", "Write 'model.image_size=[64,48]'"),
    (["augment.crop_scale=(0.5, 1)"], "_cannot_parse", "Write 'augment.crop_scale=[0.5,1]'"),
    (["train.batch_size=(8,16)"], "_cannot_parse", "needs its own quotes"),
    (["model.image_size=64,64"], "_several_values", "Write model.image_size=64"),
    (["train.batch_size=auto"], "_wrong_type", "Write a number"),
    (["hydra.run.dr=x"], "_unknown_key", "did you mean hydra.run.dir?"),
    (["seed=0-2"], "_wrong_type", "For one run per value write -m seed=A,B"),
    (
        ["distribution.devices=0,1"],
        "_several_values",
        "distribution=mirrored distribution.devices=2",
    ),
    (["seed=1,2"], "_several_values", "Add -m for one run per value"),
    (["seed=range(3)"], "_range_without_sweep", "seed: got range(3), expected one value"),
    (["~train.epochs"], "_deletion", "Leave the key out for its default"),
]


def raised(words: list[str]) -> BaseException:
    with pytest.raises((HydraException, OmegaConfBaseException)) as caught:
        OmegaConf.to_object(composed(*words))
    return caught.value


def test_every_answer_to_an_error_is_tested():
    assert {answer for _, answer, _ in ROWS} == {answer.__name__ for _, answer in RULES} - {
        "_no_recipe"  # tested below
    }


def answered_by(error: BaseException) -> str:
    problem = Problem.of(error)
    return next(
        answer.__name__
        for pattern, answer in RULES
        if re.search(pattern, problem.first) or re.search(pattern, problem.text)
    )


@pytest.mark.parametrize(("words", "answer", "said"), ROWS)
def test_words_that_hydra_refuses(words, answer, said):
    error = raised(words)
    assert answered_by(error) == answer
    assert said in explain(error)


def test_a_recipe_that_there_is_not():
    with pytest.raises(
        UserError, match=r"-cn: got flowers_liner_probe, .*\n.*flowers_linear_probe"
    ):
        configure(recipe="flowers_liner_probe")
