"""Key of the task: what the label of an image is."""

from __future__ import annotations

from dataclasses import dataclass

from cait_finetune.config.keys import check_keys, key


@dataclass
class TaskConfig:
    """The task. `cait_finetune.tasks` has a module for each."""

    name: str = key("What the label of an image is. `task=NAME` sets it.", "classification")
    alpha: float | None = key(
        "Expected share of images outside the interval of a number.", None,
        low=0.001, high=0.5,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_keys(self, "task")
