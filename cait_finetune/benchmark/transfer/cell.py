"""One run of the comparison: a method on a share of a data set's training images, with one seed."""

from __future__ import annotations

from dataclasses import dataclass

from cait_finetune.runs.command_line import override

_SCRATCH = ("optimizer=adamw_from_scratch", "model.weights=none")  # with the rate that these want
_PRETRAINED = ("model.weights=pretrained",)

#: What a command line says for each way to train.
METHODS: dict[str, tuple[str, ...]] = {
    "from scratch": _SCRATCH,
    "from scratch 3x": _SCRATCH,
    "linear probe": (
        "tuning=linear_probe", *_PRETRAINED, "tuning.solver=lbfgs", "tuning.cache_dir=null",
    ),
    "full": (*_PRETRAINED, "optimizer.layer_decay=1"),
    "full + layer decay": _PRETRAINED,
    "LoRA": ("tuning=lora", *_PRETRAINED),
    "head then full": ("tuning=head_then_full", *_PRETRAINED),
}  # fmt: skip
#: How many times as long as the others; a probe is solved to its optimum, which takes no steps.
LONGER = {"from scratch 3x": 3}


@dataclass(frozen=True)
class Cell:
    """`epochs` are those of the method; `data_dir` None is a data set's usual place."""

    dataset: str
    model: str
    method: str
    share: float
    seed: int
    epochs: int
    steps_per_epoch: int
    data_dir: str | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """What a command line has.

        The seed draws which images are kept, the weights of the head, and the order of the images.
        """
        place = (override("dataset.data_dir", self.data_dir),) if self.data_dir else ()
        return (
            f"dataset={self.dataset}",
            f"model={self.model}",
            *METHODS[self.method],
            *place,
            f"dataset.train_share={self.share:g}",
            f"seed={self.seed}",
            f"train.epochs={self.epochs}",
            f"train.steps_per_epoch={self.steps_per_epoch}",
            "dataset.cache=memory",
            "distribution=cpu",
            "export=none",
        )

    @property
    def steps(self) -> int:
        """Of training."""
        return 0 if "tuning=linear_probe" in self.words else self.epochs * self.steps_per_epoch

    def __str__(self) -> str:
        return f"{self.dataset}, {self.method}, {self.share:.2g} of the images, seed {self.seed}"
