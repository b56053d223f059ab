"""What a contestant has to do, and whether that can be asked."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from cait_finetune.cli.hydra_app import configure
from cait_finetune.errors import bad_value, suggest
from cait_tf.variants import VARIANTS, Variant

#: Those that are matrix products alone, and what each is a part of.
PRODUCTS = {"products": "inference", "training_products": "training"}
WORKS = ("inference", "products", "training", "training_products", "latency")
PRECISIONS = ("float32", "mixed_bfloat16")
CLASSES = 1000


@dataclass(frozen=True)
class Task:
    """One kind of work on one model.

    ``inference`` is the forward pass of a batch; ``training`` forward, cross-entropy, backward and AdamW
    with weight decay, without stochastic depth; ``products`` and ``training_products`` are the matrix
    products of their trunks alone; ``latency`` is one image at a time, for us through an exported
    SavedModel. Training takes the batch as a run takes it, or with `whole` all of it at once. `compiled`
    is for timm; `single_threaded` gives each operation of latency's SavedModel one thread; `device` is
    cpu or gpu.
    """

    work: str
    model: str
    precision: str
    batch_size: int
    threads: int
    image_size: int | None = None
    remat: bool = False
    whole: bool = False
    compiled: bool = False
    single_threaded: bool = False
    device: str = "cpu"

    @property
    def variant(self) -> Variant:
        """The model's row in the table."""
        return VARIANTS[self.model]

    @property
    def size(self) -> int:
        """Of the images, in pixels."""
        return self.image_size or self.variant.image_size

    @property
    def words(self) -> tuple[str, ...]:
        """What the command line of such a run would have."""
        return (
            f"model={self.model}",
            "model.weights=none",
            f"model.image_size={self.image_size or 'null'}",
            f"model.remat={str(self.remat).lower()}",
            f"train.precision={self.precision}",
            f"train.batch_size={self.batch_size}",
            f"train.accumulation={1 if self.whole else 'null'}",
            "distribution=cpu",
        )

    def __str__(self) -> str:
        size = f" at {self.image_size}" if self.image_size else ""
        remat = " with remat" if self.remat else ""
        work, precision = self.work.replace("_", " "), self.precision.removeprefix("mixed_")
        return f"{work} {self.model}{size}{remat}, {precision}"


def check_models(models: Sequence[str], image_size: int | None = None, *, timm: bool) -> None:
    """Whether there are such models, for images of that size, and timm's if it is to take part.

    Raises:
        UserError: it is not so.
    """
    at_least("models", len(models), "model")
    for name in models:
        configure(f"model={name}")
        patch = VARIANTS[name].patch_size
        if image_size is not None and (image_size < 1 or image_size % patch):
            nearest = max(1, round(image_size / patch)) * patch
            raise bad_value("image_size", image_size,
                            f"a multiple of {name}'s patch size {patch}, for instance {nearest}")  # fmt: skip
        if timm and not VARIANTS[name].published:
            raise bad_value("models", f"{name}, which timm does not have",
                            "a published model to compare", "add timm=false")  # fmt: skip
    missing = [package for package in ("timm", "torch") if not find_spec(package)]
    if timm and missing:
        raise bad_value("timm", f"no {' and no '.join(missing)}", "both to compare with",
                        "pip install 'cait-finetune[benchmark]', or add timm=false")  # fmt: skip


def check_choices(key: str, got: Sequence[str], known: Sequence[str]) -> None:
    """Whether each is one of those that there are.

    Raises:
        UserError: one is not, or there is none.
    """
    for name in got or [""]:
        if name not in known:
            raise bad_value(key, name or "nothing", f"one or more of {', '.join(known)}",
                            suggest(name, known))  # fmt: skip


def at_least(key: str, got: int, unit: str = "", least: int = 1) -> None:
    """Whether a count is large enough.

    Raises:
        UserError: it is not.
    """
    if got < least:
        raise bad_value(key, got, f"at least {least} {unit}".rstrip())


def check_repetition(config: object, *more: str) -> None:
    """Whether a command's `warmup`, `repetitions`, `rounds` and what else it counts are large enough.

    Raises:
        UserError: one is not.
    """
    for key in ("warmup", "repetitions", "rounds", *more):
        at_least(key, getattr(config, key), least=0 if key == "warmup" else 1)


def remat_choices(work: str, asked: Sequence[bool]) -> Sequence[bool]:
    """With which of those that are asked for a kind of work is done: only training has it."""
    return list(dict.fromkeys(asked)) if work == "training" else [False]


def cores() -> list[int]:
    """The numbers of those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def limit_threads(count: int) -> None:
    """Let what this process imports later have so many threads, and no GPU."""
    names = ["OMP_NUM_THREADS", "TF_NUM_INTEROP_THREADS"]
    # With all of its cores what TensorFlow does by itself is right, and a run may choose a single thread.
    if count < len(cores()):
        names.append("TF_NUM_INTRAOP_THREADS")
    for name in names:
        os.environ[name] = str(count)
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"


def thread_count(asked: int, key: str = "threads") -> int:
    """How many threads each contestant has, or whatever else `key` counts: 0 is one for each core.

    Raises:
        UserError: more than there are cores.
    """
    count = len(cores())
    if not 0 <= asked <= count:
        raise bad_value(key, asked, f"1 to {count}, the cores there are, or 0 for all")
    return asked or count
