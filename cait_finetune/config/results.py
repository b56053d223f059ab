"""Configuration of export, evaluation and the learning-rate range test."""

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
    """Which formats the model is exported to, and how the exported files are checked.

    Each format has a switch. ``export=NAME`` turns on one format, ``export=[NAME,NAME]`` several.
    `check_images`: number of validation images on which each exported file must match evaluation.
    `quantise`: smaller variants of the LiteRT file. `accuracy_images`: number of validation images on
    which the accuracy of these variants is measured; null uses all. `push_to_hub`: repository of the
    Hugging Face Hub, ``USER/NAME``, that receives the files and the model card. `hub_private`: create a
    private repository, and refuse a public repository.
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
                "[] without export=litert: only the LiteRT file has variants",
            )
        if self.push_to_hub is not None and not _HUB_NAME.fullmatch(self.push_to_hub):
            raise bad_value(
                "export.push_to_hub", self.push_to_hub, "USER/NAME, a repository of the hub"
            )

    @property
    def formats(self) -> tuple[str, ...]:
        """Names of the formats that are turned on."""
        return tuple(name for name in EXPORT_FORMATS if getattr(self, name))


@dataclass
class EvaluationConfig:
    """The split and crop ratios of ``python -m cait_finetune evaluate``: one row for each ratio."""

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
    """The learning rates of ``python -m cait_finetune lr_find``: `steps` rates from `low` to `high`.

    `smoothing` is the factor of the losses' moving average, from 0 to below 1.
    """

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
