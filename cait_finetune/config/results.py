"""Configuration of export, evaluation and the learning-rate range test."""

from __future__ import annotations

import re
from dataclasses import dataclass

from cait_finetune.config.keys import check_keys, key
from cait_finetune.errors import bad_value

EXPORT_FORMATS = ("saved_model", "onnx", "litert", "keras", "timm")
QUANTISED = ("float16", "int8")
_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")


@dataclass
class ExportConfig:
    """Which formats the model is exported to, and how the exported files are checked.

    ``export=NAME`` turns on one format, ``'export=[NAME,NAME]'`` several.
    """

    saved_model: bool = key("Write a SavedModel that takes the bytes of image files.", False)
    onnx: bool = key("Write an ONNX file that takes uint8 images.", False)
    litert: bool = key("Write a LiteRT (TFLite) file that takes uint8 images.", False)
    keras: bool = key("Write a `.keras` file that takes uint8 images.", False)
    timm: bool = key("Write weights and a configuration that timm loads.", False)
    check_images: int = key(
        "Number of validation images on which each file is compared with the model.", low=1
    )
    quantise: list[str] = key("Quantised variants of the LiteRT file.", choices=QUANTISED)
    accuracy_images: int | None = key(
        "Number of validation images that measure the quantised variants' accuracy. null: all.", None,
        low=1,
    )  # fmt: skip
    push_to_hub: str | None = key(
        "Repository USER/NAME of the Hugging Face Hub that receives the files. null: none.", None
    )
    hub_private: bool = key(
        "true: create a private repository, and refuse an existing public one.", True
    )

    def __post_init__(self) -> None:
        check_keys(self, "export")
        if self.quantise and not self.litert:
            raise bad_value(
                "export.quantise",
                list(self.quantise),
                "[] without export=litert: only the LiteRT file has quantised variants",
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
    """The rows of ``cait-finetune evaluate``: one for each crop ratio."""

    split: str = key("The split to score.", choices=("train", "validation", "test"))
    crop_pcts: list[float] = key(
        "Crop ratios: values of `preprocessing.crop_pct`.", low=0.1, high=1
    )

    def __post_init__(self) -> None:
        check_keys(self, "evaluation")
        if not self.crop_pcts:
            raise bad_value("evaluation.crop_pcts", "[]", "at least one crop ratio")


@dataclass
class LrFindConfig:
    """The learning rates of ``cait-finetune lr_find``."""

    low: float = key("The first learning rate.", low=1e-12, high=10)
    high: float = key("The last learning rate.", low=1e-12, high=1000)
    steps: int = key("Number of learning rates.", low=10)
    smoothing: float = key("Decay of the losses' moving average.", low=0, high=1, open_high=True)

    def __post_init__(self) -> None:
        check_keys(self, "lr_find")
        if self.low >= self.high:
            raise bad_value("lr_find.low", self.low, f"a number below lr_find.high={self.high:g}")
