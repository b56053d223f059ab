"""Refuse choices that need red, green and blue, if images have another number of channels."""

from __future__ import annotations

from typing import Any, TypeAlias

from cait_finetune.errors import bad_value

#: A `Config`. Importing the class would be circular.
Config: TypeAlias = Any

_RGB = 3
#: Augmentations of colours, and the value that switches each off.
_COLOUR = {"rand_operations": "0", "three_augment": "false", "color_jitter": "0"}


def check_channels(config: Config) -> None:
    """Check that augmentation and data set fit `model.in_channels`.

    Raises:
        UserError: an augmentation changes colours, or the data set has photographs only.
    """
    channels, augment = config.model.in_channels, config.augment
    if channels == _RGB:
        return
    on = [name for name in _COLOUR if getattr(augment, name)]
    if on and not config.tuning.cache_features:
        off = " ".join(f"augment.{name}={_COLOUR[name]}" for name in on)
        raise bad_value(
            f"augment.{on[0]}",
            f"{getattr(augment, on[0])} with model.in_channels={channels}",
            f"{_COLOUR[on[0]]}: it changes red, green and blue",
            f"Set {off}. Crops, mirroring, erasing, mixup and CutMix work with any channels.",
        )
    if config.dataset.source == "imagenet_folder":
        raise bad_value(
            "model.in_channels",
            f"{channels} with dataset.source=imagenet_folder",
            "3: the photographs of ImageNet are RGB",
            "Set dataset=folder for other images.",
        )
