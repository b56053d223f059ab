"""``python -m cait_finetune benchmark model``: the model's speed and memory, beside timm's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import product

from rich.console import Console

from cait_finetune.benchmark import contest, model_table
from cait_finetune.benchmark.report import Report, footnote, machine
from cait_finetune.benchmark.task import (
    PRECISIONS,
    WORKS,
    Task,
    at_least,
    check_choices,
    check_models,
    check_repetition,
    remat_choices,
    thread_count,
)

_OURS = "cait_finetune.benchmark.ours"


@dataclass
class ModelConfig:
    """The keys of the command, for each of `models` × `work` × `precisions` on the CPU.

    `work` is inference, training, and latency: one image, float32, through an exported SavedModel, as it
    is loaded and with one thread for each operation. products and training_products are the matrix
    products of the first two alone: a bound for whatever makes them as TensorFlow does.
    A measurement is `repetitions` calls after `warmup` that do not count, and is made `rounds` times
    by each contestant in turn. `threads` 0 is all cores, `image_size` null each model's own. Training is
    measured for each of `remat`: true is ``model.remat``, of which timm's counterpart is its gradient
    checkpointing.
    """

    models: list[str] = field(default_factory=lambda: ["cait_xxs24_224", "cait_s24_224"])
    work: list[str] = field(default_factory=lambda: list(WORKS))
    precisions: list[str] = field(default_factory=lambda: list(PRECISIONS))
    batch_size: int = 16
    image_size: int | None = None
    remat: list[bool] = field(default_factory=lambda: [False])
    threads: int = 2
    warmup: int = 1
    repetitions: int = 4
    latency_repetitions: int = 40
    rounds: int = 5
    timm: bool = True
    out: str = "benchmark_model"


SCHEMA = ModelConfig


def check(config: ModelConfig) -> None:
    """Everything that can be wrong, before anything is started.

    Raises:
        UserError: something is.
    """
    check_choices("work", config.work, WORKS)
    check_choices("precisions", config.precisions, PRECISIONS)
    check_repetition(config, "batch_size", "latency_repetitions")
    at_least("remat", len(config.remat), "of true and false")
    thread_count(config.threads)
    check_models(config.models, config.image_size, timm=config.timm)


def report(config: ModelConfig, console: Console) -> Report:
    """Measure all rows.

    Raises:
        UserError: a process was ended by the system.
    """
    rules = contest.Rules(
        _OURS, config.timm, config.warmup, partial(_repetitions, config), config.rounds
    )
    measured = contest.measure(list(tasks(config)), rules, console)
    foot = footnote(thread_count(config.threads))
    return Report(model_table.text(measured, foot), model_table.figures(measured, machine()))


def _repetitions(config: ModelConfig, task: Task) -> int:
    return config.latency_repetitions if task.work == "latency" else config.repetitions


def tasks(config: ModelConfig) -> Iterator[Task]:
    """The rows of the table; latency is of one image and in the precision of an export."""
    for model in config.models:
        for work in config.work:
            alone = work == "latency"
            precisions = PRECISIONS[:1] if alone else config.precisions
            for precision, remat in product(precisions, remat_choices(work, config.remat)):
                yield Task(
                    work,
                    model,
                    precision,
                    1 if alone else config.batch_size,
                    thread_count(config.threads),
                    config.image_size,
                    remat,
                )
