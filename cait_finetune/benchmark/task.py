"""The tasks that benchmarks measure, and the checks of benchmark keys."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from cait_finetune.cli.compose import configure
from cait_finetune.config.checks import within
from cait_finetune.config.image_size import check_image_size
from cait_finetune.errors import bad_value, suggest
from cait_tf.arguments import image_shape
from cait_tf.variants import VARIANTS, Variant

PRECISIONS = ("float32", "mixed_bfloat16")
CLASSES = 1000
_MAY_BE_ZERO = ("warmup", "threads")


@dataclass(frozen=True)
class Task:
    """One kind of work on one model.

    Attributes:
        work: ``inference``: forward pass of a batch. ``training``: forward, cross-entropy, backward and
            AdamW with weight decay, without stochastic depth. ``latency``: forward pass of one
            image. Our library runs a SavedModel.
        threads: CPU threads of the worker.
        repetitions: calls per measurement.
        image_size: one side or [height, width], in pixels. `None`: the model's own.
        remat: recompute activations in the backward pass: ``model.remat``, and gradient
            checkpointing in timm.
        whole: train the batch in one micro-batch. Otherwise use a run's default ``accumulation``.
        compiled: run timm's model through ``torch.compile``.
        single_threaded: the SavedModel of ``latency`` runs each operation on one thread.
        device: ``cpu`` or ``gpu``.
    """

    work: str
    model: str
    precision: str
    batch_size: int
    threads: int
    repetitions: int = 1
    image_size: int | Sequence[int] | None = None
    remat: bool = False
    whole: bool = False
    compiled: bool = False
    single_threaded: bool = False
    device: str = "cpu"

    @property
    def variant(self) -> Variant:
        """The model's entry in `VARIANTS`."""
        return VARIANTS[self.model]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images, in pixels."""
        return image_shape(self.image_size or self.variant.image_size)

    @property
    def overrides(self) -> tuple[str, ...]:
        """The overrides of a run that does the same work."""
        return (
            f"model={self.model}",
            "model.weights=none",
            f"model.image_size={'[{},{}]'.format(*self.size) if self.image_size else 'null'}",
            f"model.remat={str(self.remat).lower()}",
            f"train.precision={self.precision}",
            f"train.batch_size={self.batch_size}",
            f"train.accumulation={1 if self.whole else 'null'}",
            "distribution=cpu",
        )

    def __str__(self) -> str:
        size = f" at {'x'.join(map(str, dict.fromkeys(self.size)))}" if self.image_size else ""
        remat = " with remat" if self.remat else ""
        return f"{self.work} {self.model}{size}{remat}, {self.precision.removeprefix('mixed_')}"


#: Rows of the input benchmark. ``evaluation`` has no augmentation.
AUGMENTATIONS = ("crop and flip", "RandAugment and erasing", "evaluation")


@dataclass(frozen=True)
class InputTask:
    """Batches of the images in `root`, which has one folder per class.

    timm's loader has `workers` processes.
    """

    augmentation: str
    root: str
    image_size: int
    batch_size: int
    workers: int
    threads: int
    repetitions: int
    device: str = "cpu"

    def __str__(self) -> str:
        return f"input, {self.augmentation}"


def check_values(config: object) -> None:
    """Check that no list is empty and that no integer is below 1.

    ``warmup`` and ``threads`` may be 0.

    Raises:
        UserError: a list is empty or an integer is too small.
    """
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value == []:
            raise bad_value(field.name, "nothing", "one or more values")
        for number in value if isinstance(value, list) else [value]:
            if isinstance(number, int) and not isinstance(number, bool):
                within(field.name, number, 0 if field.name in _MAY_BE_ZERO else 1)


def check_choices(key: str, got: Sequence[str], known: Sequence[str]) -> None:
    """Raise UserError if a value in `got` is not one of `known`."""
    for name in got:
        if name not in known:
            raise bad_value(key, name, f"one or more of {', '.join(known)}", suggest(name, known))


def check_models(
    models: Sequence[str], image_size: int | list[int] | None = None, *, timm: bool
) -> None:
    """Check that the models exist and accept the image size. With `timm`, check that timm has them.

    Raises:
        UserError: a model or the image size is wrong, timm lacks a model, or timm or torch is not
            installed.
    """
    for name in models:
        configure(f"model={name}")
        check_image_size("image_size", image_size, name, VARIANTS[name].patch_size)
        if timm and not VARIANTS[name].published:
            raise bad_value("models", f"{name}, which timm does not have",
                            "a published model to compare", "Set timm=false.")  # fmt: skip
    if timm:
        check_timm("timm", "torch")


def check_timm(*packages: str) -> None:
    """Raise UserError if a package is not installed. The check imports no package."""
    missing = [package for package in packages if not find_spec(package)]
    if missing:
        raise bad_value("timm", f"no {' and no '.join(missing)}", f"{' and '.join(packages)}",
                        "Install them with pip install 'cait-finetune[benchmark]', or set timm=false.")  # fmt: skip


def remat_choices(work: str, asked: Sequence[bool]) -> Sequence[bool]:
    """Return the values of ``remat`` to measure: `asked` for training, False for other work."""
    return list(dict.fromkeys(asked)) if work == "training" else [False]
