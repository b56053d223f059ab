"""Keys of the model and of the tuning method."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from cait_finetune.config.checks import on_disk, regular_expression
from cait_finetune.config.image_size import parse_image_size
from cait_finetune.config.keys import check_keys, key
from cait_finetune.errors import bad_value


@dataclass
class ModelConfig:
    """The backbone and its weights."""

    name: str = key("Name of the variant. `model=NAME` sets it and the variant's defaults.")
    weights: str = key(
        "hub: the published weights. official: the authors' file. pretrained: the weights in the "
        "package (cait_nano_32). none: random weights. Or a weights file, or a repository of the hub.", "hub",
    )  # fmt: skip
    weights_class_names: list[str] | None = key(
        "Class names of the head in `weights`, in column order, for a file without class names. null: the "
        "file's class names.", None,
    )  # fmt: skip
    weights_key: str | None = key(
        "Key of the state dict to read from a PyTorch checkpoint with several state dicts, such as "
        "model_ema. null: the moving average, or the only state dict.",
        None,
    )
    # OmegaConf has no type for a number or a list.
    image_size: Any = key(
        "The input in pixels: one side of a square, or [height,width]. Both are multiples of the patch size. "
        "null: the variant's.", None, low=1,
    )  # fmt: skip
    in_channels: int = key(
        "Channels of an image: 3 for RGB, 1 for grey, any other number of bands. The patch embedding of RGB "
        "weights is adapted as in timm.", 3, low=1, high=64,
    )  # fmt: skip
    drop_path_rate: float = key("Drop-path rate (stochastic depth) of every trunk block.", 0.0,
                                low=0, high=1, open_high=True)  # fmt: skip
    drop_rate: float = key("Dropout rate of the patch embedding, projections and MLPs.", 0.0,
                           low=0, high=1, open_high=True)  # fmt: skip
    attn_drop_rate: float = key("Dropout rate of the attention probabilities.", 0.0,
                                low=0, high=1, open_high=True)  # fmt: skip
    remat: bool = key(
        "Recompute each block in the backward pass instead of keeping its activations.", False
    )
    fused: bool = key("Use fused operations. false: the plain formulas of `cait_tf`.", True)
    kernel_init: float | None = key(
        "Standard deviation of the blocks' random initial kernels. null: the variant's.", None,
        low=0.001, high=1,
    )  # fmt: skip

    def __post_init__(self) -> None:
        self.image_size = parse_image_size("model.image_size", self.image_size)
        check_keys(self, "model")


@dataclass
class TuningConfig:
    """Which parameters are trained, and when. Keys that the chosen `method` does not read are null."""

    method: str = key("The tuning method. `tuning=NAME` sets it and its defaults.",
                      choices=("full", "linear_probe", "head_then_full", "gradual", "lora", "pattern"))  # fmt: skip
    solver: str | None = key(
        "sgd: train with `optimizer` and `schedule`. lbfgs: scikit-learn's L-BFGS, to the optimum.", None,
        choices=("sgd", "lbfgs"),
    )  # fmt: skip
    cache_features: bool | None = key(
        "true: compute the features once, without augmentation. false: in every epoch, with it.",
        None,
    )
    cache_dir: str | None = key(
        "Folder that keeps the features for later runs. null: they are kept in memory.", None
    )
    head_epochs: int | None = key("Epochs of the head alone, before full training.", None, low=1)
    stages: int | None = key(
        "Number of stages. Each stage trains more blocks than the stage before it.", None, low=2
    )
    stage_epochs: int | None = key("Epochs of each stage but the last.", None, low=1)
    rank: int | None = key("Rank of the low-rank updates.", None, low=1)
    alpha: float | None = key(
        "The low-rank updates are multiplied by alpha / rank. null: alpha equals rank.", None
    )
    targets: str | None = key(
        "Regular expression. Layers get low-rank updates if it matches a part of their path.", None
    )
    pattern: str | None = key(
        "Regular expression. Variables are trained if it matches a part of their path.", None
    )
    train_head: bool | None = key("Train the head, too.", None)

    def __post_init__(self) -> None:
        check_keys(self, "tuning")
        if self.alpha is not None and not 0 < self.alpha < math.inf:
            raise bad_value("tuning.alpha", self.alpha, "a number above 0, or null for the rank")
        for name in ("targets", "pattern"):
            regular_expression(f"tuning.{name}", getattr(self, name))
        on_disk("tuning.cache_dir", self.cache_dir)
        if self.solver == "lbfgs" and self.cache_features is False:
            raise bad_value(
                "tuning.solver",
                "lbfgs with tuning.cache_features=false",
                "sgd with tuning.cache_features=false: L-BFGS needs all features at once",
            )
