import os
import sys
from dataclasses import replace

import pytest

from cait_finetune.benchmark import task
from cait_finetune.benchmark.task import Task
from cait_finetune.cli.hydra_app import configure
from cait_finetune.errors import UserError


def test_a_task_is_the_configuration_of_a_run():
    one = Task("training", "cait_xxs24_224", "mixed_bfloat16", 8, 2, image_size=96, remat=True)
    config = configure(*one.words)
    assert config.model.name == "cait_xxs24_224"
    assert config.model.weights == "none"
    assert config.model.image_size == one.size == 96
    assert config.model.remat
    assert config.model.drop_path_rate == 0
    assert config.train.precision == "mixed_bfloat16"
    assert config.train.batch_size == 8
    assert config.optimizer.name == "adamw"
    assert config.optimizer.weight_decay > 0
    assert str(one) == "training cait_xxs24_224 at 96 with remat, bfloat16"


def test_its_own_size_when_none_is_asked_for():
    one = Task("inference", "cait_s24_384", "float32", 8, 2)
    assert one.size == 384
    assert configure(*one.words).model.image_size is None
    assert str(one) == "inference cait_s24_384, float32"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["cait_xxs24_22"], None, False), "did you mean cait_xxs24_224"),
        (([], None, False), "models: got 0, expected at least 1 model"),
        ((["cait_xxs24_224"], 100, False), "patch size 16, for instance 96"),
        ((["cait_xxs24_224"], 0, False), "image_size: got 0"),
        ((["cait_nano_32"], None, True), "add timm=false"),
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


def test_threads(monkeypatch):
    monkeypatch.setattr(task, "cores", lambda: [3, 5])
    assert task.thread_count(0) == 2
    assert task.thread_count(1) == 1
    for wrong in (3, -1):
        with pytest.raises(UserError, match="1 to 2, the cores there are"):
            task.thread_count(wrong)


@pytest.mark.parametrize(("count", "of_an_operation"), [(1, "1"), (2, None)])
def test_an_operation_has_no_more_than_its_process(count, of_an_operation, monkeypatch):
    monkeypatch.setattr(task, "cores", lambda: [3, 5])
    monkeypatch.setattr(os, "environ", {})
    task.limit_threads(count)
    assert os.environ["TF_NUM_INTEROP_THREADS"] == os.environ["OMP_NUM_THREADS"] == str(count)
    assert os.environ.get("TF_NUM_INTRAOP_THREADS") == of_an_operation
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "-1"


def test_cores_are_those_that_the_process_may_use():
    assert task.cores() == sorted(os.sched_getaffinity(0))


def test_a_whole_batch_is_of_one_part():
    one = Task("training", "cait_nano_32", "float32", 64, 1)
    assert configure(*one.words).train.accumulation is None
    assert configure(*replace(one, whole=True).words).train.accumulation == 1
