"""What is made of a model: its export, an evaluation of it, a search for its learning rate."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from cait_finetune.config.checks import one_of, within
from cait_finetune.errors import bad_value


@dataclass
class ExportConfig:
    """Whether a SavedModel is written, and on how many validation images it is checked."""

    enabled: bool = MISSING
    check_images: int = MISSING

    def __post_init__(self) -> None:
        within("export.check_images", self.check_images, 1)


@dataclass
class EvaluationConfig:
    """What ``python -m cait_finetune.evaluate`` measures: one row of its table for each crop ratio."""

    split: str = MISSING
    crop_pcts: list[float] = MISSING

    def __post_init__(self) -> None:
        one_of("evaluation.split", self.split, ("train", "validation", "test"))
        if not self.crop_pcts:
            raise bad_value("evaluation.crop_pcts", "[]", "at least one crop ratio")
        for crop_pct in self.crop_pcts:
            within("evaluation.crop_pcts", crop_pct, 0.1, 1)


@dataclass
class LrFindConfig:
    """The rates that ``python -m cait_finetune.lr_find`` tries, from `low` to `high` in `steps`."""

    low: float = MISSING
    high: float = MISSING
    steps: int = MISSING
    smoothing: float = MISSING

    def __post_init__(self) -> None:
        within("lr_find.low", self.low, 1e-12, 10)
        within("lr_find.high", self.high, 1e-12, 1000)
        if self.low >= self.high:
            raise bad_value("lr_find.low", self.low, f"a number below lr_find.high={self.high:g}")
        within("lr_find.steps", self.steps, 10)
        within("lr_find.smoothing", self.smoothing, 0, 1, open_high=True)
