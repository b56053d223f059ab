"""The tasks, one module for each: what a label is, and all that depends on it.

To add a task, write a module with a subclass of `Task`, `register` it, and write ``conf/task/NAME.yaml``.
"""

from __future__ import annotations

from omegaconf import DictConfig

from cait_finetune.config import Config, TaskConfig, from_hydra
from cait_finetune.errors import bad_value, suggest
from cait_finetune.tasks.classification import Classification
from cait_finetune.tasks.multi_label import MultiLabel
from cait_finetune.tasks.regression import Regression
from cait_finetune.tasks.several import Several
from cait_finetune.tasks.task import Task

_TASKS: dict[str, Task] = {}


def register(task: Task) -> None:
    """Make a task known by its name."""
    _TASKS[task.name] = task


register(Classification())
register(MultiLabel())
register(Regression())
register(Several())


def known_sections() -> set[str]:
    """Return the titles of all report sections that depend on the task."""
    return {title for task in _TASKS.values() for title in task.sections}


def task_of(config: TaskConfig) -> Task:
    """Return the configured task.

    Raises:
        UserError: no such task is registered.
    """
    if config.name not in _TASKS:
        raise bad_value(
            "task.name", config.name, f"one of {', '.join(_TASKS)}", suggest(config.name, _TASKS)
        )
    return _TASKS[config.name].configured(config)


def checked(composed: DictConfig) -> Config:
    """Return the composed configuration as objects, checked by `from_hydra` and by its task.

    Raises:
        UserError: as `config.from_hydra`; or a value does not fit the task.
    """
    config = from_hydra(composed)
    task_of(config.task).check(config)
    return config


__all__ = ["Task", "checked", "known_sections", "register", "task_of"]
