"""``python -m cait_finetune benchmark gpu``: the model's speed and memory on an NVIDIA GPU, beside timm's.

Ours is `cait_tf` under Keras' JAX backend, where a step is one XLA program, not the TensorFlow step
that a run makes.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import product

from rich.console import Console

from cait_finetune.benchmark import contest, model_table
from cait_finetune.benchmark.report import Report, machine, packages
from cait_finetune.benchmark.task import (
    PRECISIONS,
    Task,
    at_least,
    check_choices,
    check_models,
    check_repetition,
    cores,
    remat_choices,
)
from cait_finetune.errors import bad_value

_OURS = "cait_finetune.benchmark.jax_model"
_WORKS = ("inference", "training")


@dataclass
class GpuConfig:
    """The keys of the command, for each of `models` × `work` × `precisions` on one GPU.

    `batch_sizes` has one for each of the models. A measurement is `repetitions` calls after `warmup`
    that do not count, and is made `rounds` times by each contestant in turn; their processes share the
    card, each with its own memory. `image_size` null is each model's own. Training is measured for
    each of `remat`: true is ``model.remat``, of which timm's counterpart is its gradient checkpointing.
    """

    models: list[str] = field(
        default_factory=lambda: ["cait_xxs24_224", "cait_s24_224", "cait_xxs24_384"]
    )
    batch_sizes: list[int] = field(default_factory=lambda: [256, 128, 64])
    work: list[str] = field(default_factory=lambda: list(_WORKS))
    precisions: list[str] = field(default_factory=lambda: [PRECISIONS[1]])
    image_size: int | None = None
    remat: list[bool] = field(default_factory=lambda: [False])
    warmup: int = 2
    repetitions: int = 10
    rounds: int = 5
    timm: bool = True
    out: str = "benchmark_gpu"


SCHEMA = GpuConfig


def check(config: GpuConfig) -> None:
    """Everything that can be wrong and is seen without a process on the card.

    Raises:
        UserError: something is.
    """
    check_choices("work", config.work, _WORKS)
    check_choices("precisions", config.precisions, PRECISIONS)
    if len(config.batch_sizes) != len(config.models) or min(config.batch_sizes, default=1) < 1:
        raise bad_value("batch_sizes", config.batch_sizes,
                        f"one of at least 1 for each of the {len(config.models)} models")  # fmt: skip
    check_repetition(config)
    at_least("remat", len(config.remat), "of true and false")
    check_models(config.models, config.image_size, timm=config.timm)
    if not find_spec("jax"):
        raise bad_value("jax", "nothing", "it installed", "pip install 'jax[cuda13]'")
    gpu_name()


def gpu_name() -> str:
    """Of the first card there is.

    Raises:
        UserError: the driver shows none.
    """
    words = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        shown = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        shown = ""
    if not shown.strip():
        raise bad_value(
            "nvidia-smi", "no GPU", "at least one", "measure a CPU with benchmark model"
        )
    return shown.splitlines()[0].strip()


def report(config: GpuConfig, console: Console) -> Report:
    """Measure all rows.

    Raises:
        UserError: JAX or PyTorch does not see the GPU, or a process was ended by the system.
    """
    rules = contest.Rules(
        _OURS, config.timm, config.warmup, lambda _: config.repetitions, config.rounds
    )
    measured = contest.measure(list(tasks(config)), rules, console)
    facts = {"gpu": gpu_name(), **machine(config.timm, ours=("jax", "keras"))}
    foot = f"Ours under Keras' JAX backend. One {facts['gpu']}; {packages(facts)}.\n"
    return Report(model_table.text(measured, foot), model_table.figures(measured, facts))


def tasks(config: GpuConfig) -> Iterator[Task]:
    """The rows of the table."""
    for model, batch_size in zip(config.models, config.batch_sizes, strict=True):
        for work in config.work:
            for precision, remat in product(config.precisions, remat_choices(work, config.remat)):
                yield Task(work, model, precision, batch_size, len(cores()), config.image_size,
                           remat, device="gpu")  # fmt: skip
