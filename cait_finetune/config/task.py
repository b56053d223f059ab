"""Key of the task: what the label of an image is."""

from __future__ import annotations

from dataclasses import dataclass

from cait_finetune.config.keys import key


@dataclass
class TaskConfig:
    """The task. `cait_finetune.tasks` has a module for each."""

    name: str = key("What the label of an image is. `task=NAME` sets it.", "classification")
