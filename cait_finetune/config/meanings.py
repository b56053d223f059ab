"""Map values of other frameworks to our values with the same meaning."""

from __future__ import annotations

from collections.abc import Sequence

#: Values of `model.weights` that name no file.
WEIGHTS = ("none", "pretrained", "hub", "official")
#: Our values for each value of another framework. The first value that the key accepts is used.
_MEANT = {
    "true": ("mixed_bfloat16", "pretrained", "flip", "int8"),
    "1": ("mixed_bfloat16", "flip"),
    "false": ("float32", "none"),
    "bf16": ("mixed_bfloat16",),
    "bf16-mixed": ("mixed_bfloat16",),
    "bfloat16": ("mixed_bfloat16",),
    "16-mixed": ("mixed_float16",),
    "16": ("mixed_float16",),
    "fp16": ("mixed_float16", "float16"),
    "half": ("mixed_float16", "float16"),
    "fp32": ("float32",),
    "32": ("float32",),
    "8": ("int8",),
    "val": ("validation",),
    "valid": ("validation",),
    "imagenet": ("pretrained",),
    "random": ("none",),
    "scratch": ("none",),
    "five": ("five_crop",),
    "acc": ("top1",),
    "val_acc": ("top1",),
    "accuracy": ("top1",),
    "f1": ("macro_f1",),
}


def choice_for(value: str, choices: Sequence[str]) -> str | None:
    """Return the choice that a value of another framework means. `None`: none is known."""
    return next((one for one in _MEANT.get(value.lower(), ()) if one in choices), None)
