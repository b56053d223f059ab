"""Keys of the model and of the tuning method."""

from __future__ import annotations

import math
from dataclasses import dataclass

from omegaconf import MISSING

from cait_finetune.config.checks import on_disk, one_of, regular_expression, within
from cait_finetune.errors import bad_value


@dataclass
class ModelConfig:
    """The backbone and its weights. `image_size` null: the variant's image size.

    `weights_class_names` are the classes of the head in `weights`, in column order, for a file that
    names no classes. `null`: the names in the file. `weights_key` selects the state dict of a
    PyTorch checkpoint that has several. `kernel_init` is the standard deviation of the random
    kernels of the blocks. `null`: the variant's value, which is the authors' .02 except in
    cait_nano_32. `fused` false uses the plain formulas of `cait_tf` instead of its fused ops.
    `remat` recomputes each block in the backward pass instead of keeping its activations.
    """

    name: str = MISSING
    weights: str = "hub"
    weights_class_names: list[str] | None = None
    weights_key: str | None = None
    image_size: int | None = None
    drop_path_rate: float = 0.0
    drop_rate: float = 0.0
    attn_drop_rate: float = 0.0
    remat: bool = False
    fused: bool = True
    kernel_init: float | None = None

    def __post_init__(self) -> None:
        for rate in ("drop_path_rate", "drop_rate", "attn_drop_rate"):
            within(f"model.{rate}", getattr(self, rate), 0, 1, open_high=True)
        if self.image_size is not None:
            within("model.image_size", self.image_size, 1)
        if self.kernel_init is not None:
            within("model.kernel_init", self.kernel_init, 0.001, 1)


_METHODS = ("full", "linear_probe", "head_then_full", "gradual", "lora", "pattern")


@dataclass
class TuningConfig:
    """Which parameters are trained, and when. Keys of a method other than `method` must be null.

    `head_epochs` and `stage_epochs` are the lengths of each phase before the last. `alpha` null:
    `rank`. `targets` and `pattern` are regular expressions, searched in the paths of layers and of
    variables. `cache_dir` null: no features are kept on disk.
    """

    method: str = MISSING
    solver: str | None = None
    cache_features: bool | None = None
    cache_dir: str | None = None
    head_epochs: int | None = None
    stages: int | None = None
    stage_epochs: int | None = None
    rank: int | None = None
    alpha: float | None = None
    targets: str | None = None
    pattern: str | None = None
    train_head: bool | None = None

    def __post_init__(self) -> None:
        one_of("tuning.method", self.method, _METHODS)
        if self.solver is not None:
            one_of("tuning.solver", self.solver, ("sgd", "lbfgs"))
        for key, least in (("head_epochs", 1), ("stages", 2), ("stage_epochs", 1), ("rank", 1)):
            if getattr(self, key) is not None:
                within(f"tuning.{key}", getattr(self, key), least)
        if self.alpha is not None and not 0 < self.alpha < math.inf:
            raise bad_value("tuning.alpha", self.alpha, "a number above 0, or null for the rank")
        for key in ("targets", "pattern"):
            regular_expression(f"tuning.{key}", getattr(self, key))
        on_disk("tuning.cache_dir", self.cache_dir)
        if self.solver == "lbfgs" and self.cache_features is False:
            raise bad_value(
                "tuning.solver",
                "lbfgs with tuning.cache_features=false",
                "sgd there: L-BFGS needs all features at once",
            )
