"""The registry of tasks, their configuration, and what earlier versions wrote."""

from __future__ import annotations

import numpy as np
import pytest

from cait_finetune import tasks
from cait_finetune.cli.compose import configure
from cait_finetune.config import TaskConfig
from cait_finetune.errors import UserError
from cait_finetune.tasks import task_of
from cait_finetune.tasks.classification import Classification
from tests.cait_finetune.stand_ins import CONF, checked

PROJECT = CONF.parent
NAMES = sorted(path.stem for path in (CONF / "task").glob("*.yaml"))
#: The pages of tasks, the labels, the list of tasks, and the readers of what earlier versions wrote.
OF_MULTI_LABEL = {
    f"{name}.py"
    for name in (
        "cait_finetune/tasks/multi_label", "cait_finetune/tasks/__init__",
        "cait_finetune/tasks/classification", "cait_finetune/data/targets/any_classes",
        "cait_finetune/config/former", "cait_tf/image_classifier",
    )
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_each_option_names_a_task(name):
    assert checked(f"task={name}").task.name == name
    assert task_of(TaskConfig(name)).name == name


def test_each_task_has_an_option():
    assert sorted(tasks._TASKS) == NAMES


def test_an_unknown_task_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"^task\.name: got multilabel, expected one of cla"):
        checked("task.name=multilabel")


@pytest.mark.parametrize("name", NAMES)
def test_the_defaults_of_a_task_fit_it(name):
    task = task_of(TaskConfig(name))
    config = checked(f"task={name}")
    assert task.judged_by(config.dataset) == task.metrics[0]
    assert set(task.metrics) < set(task.measured)
    labels = np.zeros((3, *task.target.shape(4)), task.target.dtype.as_numpy_dtype)
    if task.target.has_classes:
        assert task.target.class_counts(labels, 4).shape == (4,)
    assert task.numbers == (not task.target.has_classes)
    assert set(task.sections) <= tasks.known_sections()
    columns = [f"colour={one}" for one in range(4)]
    assert task.postprocessing.named(columns).values(np.zeros((3, 4))).shape == (3, 4)


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("true", "task=multi_label"),
        ("false", "task=classification"),
        ("null", "task=classification"),
    ],
)
def test_the_former_key_is_answered_with_the_task(value, meant):
    with pytest.raises(UserError, match=rf"dataset\.multi_label: (.|\n)*did you mean {meant}\?"):
        configure(f"dataset.multi_label={value}")


def test_a_task_takes_one_module_and_one_file(tmp_path, monkeypatch):
    class Toy(Classification):
        name = "toy"
        metrics = ("mean_per_class", "top1")

    monkeypatch.setattr(tasks, "_TASKS", dict(tasks._TASKS))
    tasks.register(Toy())
    (tmp_path / "task").mkdir()
    (tmp_path / "task" / "toy.yaml").write_text("name: toy\n", encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(
        "defaults: [config, override task: toy, _self_]\n", encoding="utf-8"
    )
    config = configure(recipe="mine", folder=tmp_path)
    assert task_of(config.task).judged_by(config.dataset) == "mean_per_class"


def test_no_other_module_names_the_task():
    files = [
        path for room in ("cait_finetune", "cait_tf") for path in (PROJECT / room).rglob("*.py")
    ]
    naming = {
        path.relative_to(PROJECT).as_posix()
        for path in files
        if "multi_label" in path.read_text(encoding="utf-8")
    }
    assert naming == OF_MULTI_LABEL


def test_a_separator_needs_several_classes():
    message = (
        r"^dataset\.columns\.separator: got ';' with task=classification, expected the default"
    )
    with pytest.raises(UserError, match=message):
        checked("dataset=csv", "dataset.columns.separator=';'")
    checked("dataset=csv", "dataset.columns.separator=';'", "task=multi_label")
