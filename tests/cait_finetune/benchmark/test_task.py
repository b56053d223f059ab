import sys
from dataclasses import replace

import pytest

from cait_finetune.benchmark import task
from cait_finetune.benchmark.model import GpuBenchmark, ModelBenchmark
from cait_finetune.benchmark.task import Task
from cait_finetune.cli.compose import configure
from cait_finetune.errors import UserError


def test_a_task_is_the_configuration_of_a_run():
    one = Task("training", "cait_xxs24_224", "mixed_bfloat16", 8, 2, image_size=96, remat=True)
    config = configure(*one.overrides)
    assert config.model.name == "cait_xxs24_224"
    assert config.model.weights == "none"
    assert (config.model.image_size, one.size) == ([96, 96], (96, 96))
    assert config.model.remat
    assert config.model.drop_path_rate == 0
    assert config.train.precision == "mixed_bfloat16"
    assert config.train.batch_size == 8
    assert config.optimizer.name == "adamw"
    assert config.optimizer.weight_decay > 0
    assert str(one) == "training cait_xxs24_224 at 96 with remat, bfloat16"


def test_a_task_with_another_height_than_width():
    one = Task("inference", "cait_xxs24_224", "float32", 8, 2, image_size=[96, 64])
    assert (configure(*one.overrides).model.image_size, one.size) == ([96, 64], (96, 64))
    assert str(one) == "inference cait_xxs24_224 at 96x64, float32"


def test_a_task_defaults_to_the_image_size_of_its_model():
    one = Task("inference", "cait_s24_384", "float32", 8, 2)
    assert one.size == (384, 384)
    assert configure(*one.overrides).model.image_size is None
    assert str(one) == "inference cait_s24_384, float32"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["cait_xxs24_22"], None, False), "did you mean cait_xxs24_224"),
        ((["cait_xxs24_224"], [100], False), "patch size 16, for instance 96"),
        ((["cait_xxs24_224"], [96, 100], False), r"for instance \[96,96\]"),
        ((["cait_nano_32"], None, True), "Set timm=false"),
    ],
)
def test_models_that_cannot_be_measured(arguments, message):
    models, image_size, timm = arguments
    with pytest.raises(UserError, match=message):
        task.check_models(models, image_size, timm=timm)


def test_timm_that_is_not_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"no timm.*\n.*cait-finetune\[benchmark\]"):
        task.check_models(["cait_xxs24_224"], timm=True)
    task.check_models(["cait_xxs24_224"], timm=False)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ModelBenchmark(models=[]), "models: got nothing, expected one or more values"),
        (ModelBenchmark(remat=[]), "remat: got nothing"),
        (ModelBenchmark(rounds=0), r"rounds: got 0, expected a number in \[1, inf\)"),
        (ModelBenchmark(warmup=-1), "warmup: got -1"),
        (GpuBenchmark(batch_sizes=[8, 0]), "batch_sizes: got 0"),
    ],
)
def test_values_that_are_too_small(config, message):
    with pytest.raises(UserError, match=message):
        task.check_values(config)


def test_values_that_may_be_zero_or_nothing():
    task.check_values(ModelBenchmark(warmup=0, threads=0, image_size=None, remat=[False]))


def test_a_whole_batch_sets_accumulation_to_1():
    one = Task("training", "cait_nano_32", "float32", 64, 1)
    assert configure(*one.overrides).train.accumulation is None
    assert configure(*replace(one, whole=True).overrides).train.accumulation == 1
