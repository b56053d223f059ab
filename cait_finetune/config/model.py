"""Keys of the model and of the tuning method."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cait_finetune.config.checks import on_disk, regular_expression
from cait_finetune.config.keys import check_keys, key
from cait_finetune.errors import bad_value


@dataclass
class ModelConfig:
    """The backbone and its weights."""

    name: str = key("The variant. `model=NAME` sets it with its defaults.")
    weights: str = key(
        "hub: the published weights. official: the authors' file. pretrained: the weights in the "
        "package (cait_nano_32). none: random. Otherwise a weights file, or a repository of the hub.", "hub",
    )  # fmt: skip
    weights_class_names: list[str] | None = key(
        "Classes of the head in `weights`, in column order, for a file that names none. null: the names "
        "in the file.", None,
    )  # fmt: skip
    weights_key: str | None = key(
        "State dict of a PyTorch checkpoint that has several, such as model_ema. null: its only one.",
        None,
    )
    image_size: int | None = key(
        "Side of the square images in pixels, a multiple of the patch size. null: the variant's.", None,
        low=1,
    )  # fmt: skip
    drop_path_rate: float = key("Stochastic depth of the last block.", 0.0,
                                low=0, high=1, open_high=True)  # fmt: skip
    drop_rate: float = key("Dropout of the patch embedding, projections and MLPs.", 0.0,
                           low=0, high=1, open_high=True)  # fmt: skip
    attn_drop_rate: float = key("Dropout of the attention probabilities.", 0.0,
                                low=0, high=1, open_high=True)  # fmt: skip
    remat: bool = key(
        "Recompute each block in the backward pass instead of keeping its activations.", False
    )
    fused: bool = key("Use fused operations. false: the plain formulas of `cait_tf`.", True)
    kernel_init: float | None = key(
        "Standard deviation of random kernels of the blocks. null: the variant's.", None,
        low=0.001, high=1,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_keys(self, "model")


@dataclass
class TuningConfig:
    """Which parameters are trained, and when. Keys of a method other than `method` must be null."""

    method: str = key("How the backbone is trained. `tuning=NAME` sets it with its defaults.",
                      choices=("full", "linear_probe", "head_then_full", "gradual", "lora", "pattern"))  # fmt: skip
    solver: str | None = key(
        "sgd: the optimizer and schedule of every run. lbfgs: scikit-learn's, to the optimum.", None,
        choices=("sgd", "lbfgs"),
    )  # fmt: skip
    cache_features: bool | None = key(
        "Compute the features once, without augmentation. false: every epoch anew, with it.", None
    )
    cache_dir: str | None = key("Folder of features for the next run. null: kept in memory.", None)
    head_epochs: int | None = key("Epochs of the head alone, before full training.", None, low=1)
    stages: int | None = key(
        "Number of stages, in which ever more blocks are trained.", None, low=2
    )
    stage_epochs: int | None = key("Epochs of each stage but the last.", None, low=1)
    rank: int | None = key("Rank of the low-rank updates.", None, low=1)
    alpha: float | None = key("The updates are scaled by alpha / rank. null: the rank.", None)
    targets: str | None = key(
        "Regular expression, searched in the paths of layers: the layers that get updates.", None
    )
    pattern: str | None = key(
        "Regular expression, searched in the paths of variables: the variables to train.", None
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
                "sgd there: L-BFGS needs all features at once",
            )
