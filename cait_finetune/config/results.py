"""What is made of a model: its export, an evaluation of it, a search for its learning rate."""

from __future__ import annotations

import re
from dataclasses import dataclass

from omegaconf import MISSING

from cait_finetune.config.checks import one_of, within
from cait_finetune.errors import bad_value

EXPORT_FORMATS = ("saved_model", "onnx", "litert", "keras", "timm")
QUANTISED = ("float16", "int8")
_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")


@dataclass
class ExportConfig:
    """Which files are made of the model, and how they are checked.

    One switch for each format: ``export=NAME`` turns on that one, ``export=[NAME,NAME]`` several.
    Each is held against the evaluation on `check_images` validation images. `quantise` names smaller
    variants of the LiteRT file, whose accuracy is measured on `accuracy_images` of validation, null
    being all. `push_to_hub` is a repository of the Hugging Face Hub, ``USER/NAME``, that gets the
    files and the model card. `hub_private` creates a private repository, and refuses a public one.
    """

    saved_model: bool = False
    onnx: bool = False
    litert: bool = False
    keras: bool = False
    timm: bool = False
    check_images: int = MISSING
    quantise: list[str] = MISSING
    accuracy_images: int | None = None
    push_to_hub: str | None = None
    hub_private: bool = True

    def __post_init__(self) -> None:
        within("export.check_images", self.check_images, 1)
        if self.accuracy_images is not None:
            within("export.accuracy_images", self.accuracy_images, 1)
        for variant in self.quantise:
            one_of("export.quantise", variant, QUANTISED)
        if self.quantise and not self.litert:
            raise bad_value(
                "export.quantise",
                list(self.quantise),
                "[] without export=litert, whose variants they are",
            )
        if self.push_to_hub is not None and not _HUB_NAME.fullmatch(self.push_to_hub):
            raise bad_value(
                "export.push_to_hub", self.push_to_hub, "USER/NAME, a repository of the hub"
            )

    @property
    def formats(self) -> tuple[str, ...]:
        """The names of those that are turned on."""
        return tuple(name for name in EXPORT_FORMATS if getattr(self, name))


@dataclass
class EvaluationConfig:
    """What ``python -m cait_finetune evaluate`` measures: one row of its table for each crop ratio."""

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
    """The rates that ``python -m cait_finetune lr_find`` tries, from `low` to `high` in `steps`."""

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
