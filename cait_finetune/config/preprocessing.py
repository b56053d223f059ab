"""Changes to the preprocessing that a model variant was trained with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cait_finetune.config.keys import check_keys, key
from cait_finetune.errors import bad_value

#: The value of `mean` and `std` that stands for the statistics of the training images.
AUTO = "auto"
_LIST = "a list of numbers, one for each channel, auto, or null"


@dataclass
class PreprocessingConfig:
    """Preprocessing of training, evaluation and export. null: the variant's own value.

    Training with random crops ignores `resize_mode` and `crop_pct`.
    """

    resize_mode: str = key(
        "shorter_side: resize the image to cover image_size / crop_pct (a square: its shorter side) and crop "
        "the centre. squash: resize both sides to image_size / crop_pct and crop the centre. pad: resize the "
        "whole image to fit in image_size and pad with black.", "shorter_side", choices=("shorter_side", "squash", "pad"),
    )  # fmt: skip
    crop_pct: float | None = key(
        "Side of the crop divided by the resized side.", None, low=0.1, high=1
    )
    interpolation: str | None = key(
        "Interpolation for resizing.", None, choices=("bicubic", "bilinear")
    )
    antialias: bool = key("Widen the resizing kernel when shrinking, as PIL does.", True)
    # OmegaConf has no type for a text or a list.
    mean: Any = key(
        "Mean of each channel, for normalisation: 8-bit levels divided by 255, 16-bit levels by 65535, other "
        "values as they are. auto: of the training images. null: the variant's, and auto unless "
        "model.in_channels is 3.", None, takes=_LIST,
    )  # fmt: skip
    std: Any = key("Standard deviation of each channel, like `mean`.", None, takes=_LIST)

    def __post_init__(self) -> None:
        check_keys(self, "preprocessing")
        if self.crop_pct is not None and self.resize_mode == "pad":
            raise bad_value(
                "preprocessing.crop_pct",
                f"{self.crop_pct} with preprocessing.resize_mode=pad",
                "null: pad keeps the whole image",
            )
        for name in ("mean", "std"):
            setattr(self, name, _parsed(f"preprocessing.{name}", getattr(self, name)))


def _parsed(key: str, value: Any) -> list[float] | str | None:
    """Return numbers, `AUTO` or `None`.

    Raises:
        UserError: the value is none of these.
    """
    if value is None or value == AUTO:
        return value
    if isinstance(value, Sequence) and not isinstance(value, str) and value:
        try:
            if not any(isinstance(one, bool) for one in value):
                return [float(one) for one in value]
        except (TypeError, ValueError):
            pass
    raise bad_value(key, value, _LIST, f"Write '{key}=[0.5,0.5,0.5]' or {key}={AUTO}")


def check_statistics(config: PreprocessingConfig, channels: int) -> None:
    """Check the numbers of `mean` and `std` against the number of channels.

    Raises:
        UserError: the number of values differs from `channels`, or a value is out of range.
    """
    for name, least in (("mean", 0.0), ("std", 1e-3)):
        values = getattr(config, name)
        if values is None or values == AUTO:
            continue
        key = f"preprocessing.{name}"
        rgb = channels == 3
        if rgb and (len(values) != 3 or not all(least <= one <= 1 for one in values)):
            raise bad_value(
                key,
                list(values),
                f"three numbers from {least:g} to 1, for red, green and blue",
                "" if len(values) == 3 else f"Set model.in_channels={len(values)}, if the images have "
                "so many channels.",
            )  # fmt: skip
        if len(values) != channels:
            raise bad_value(
                key,
                f"{len(values)} numbers",
                f"{channels}, one for each channel of model.in_channels={channels}",
                f"Set model.in_channels={len(values)}, or {key}={AUTO} to compute it in training.",
            )
        if not all(math.isfinite(one) and (name == "mean" or one > 0) for one in values):
            wanted = "finite numbers" + " above 0" * (name == "std")
            raise bad_value(key, list(values), wanted, f"Set {key}={AUTO}.")
