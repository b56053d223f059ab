"""``python -m cait_finetune.benchmark model``: the model's speed and memory, beside timm's."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from cait_finetune.benchmark import model_table
from cait_finetune.benchmark.contestant import CannotCompile, Contestant
from cait_finetune.benchmark.flops import flops
from cait_finetune.benchmark.model_row import OURS, Row
from cait_finetune.benchmark.report import Report, footnote, machine
from cait_finetune.benchmark.rounds import in_turn
from cait_finetune.benchmark.task import (
    PRECISIONS,
    WORKS,
    Task,
    at_least,
    check_choices,
    check_models,
    thread_count,
)

_OURS, _TIMM = "cait_finetune.benchmark.ours", "cait_finetune.benchmark.timm_model"
_PASSES = {"inference": 1, "training": 3, "latency": 1}  # forward passes, in operations


@dataclass
class ModelConfig:
    """The keys of the command, for each of `models` × `work` × `precisions` on the CPU.

    `work` is inference, training, and latency: one image, float32, through an exported SavedModel.
    A measurement is `repetitions` calls after `warmup` that do not count, and is made `rounds` times
    by each contestant in turn. `threads` 0 is all cores, `image_size` null each model's own.
    """

    models: list[str] = field(default_factory=lambda: ["cait_xxs24_224", "cait_s24_224"])
    work: list[str] = field(default_factory=lambda: list(WORKS))
    precisions: list[str] = field(default_factory=lambda: list(PRECISIONS))
    batch_size: int = 16
    image_size: int | None = None
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
    for key, least in (("batch_size", 1), ("warmup", 0), ("repetitions", 1),
                       ("latency_repetitions", 1), ("rounds", 1)):  # fmt: skip
        at_least(key, getattr(config, key), least=least)
    thread_count(config.threads)
    check_models(config.models, config.image_size, timm=config.timm)


def report(config: ModelConfig, console: Console) -> Report:
    """Measure all rows.

    Raises:
        UserError: a process was ended by the system.
    """
    rows, peaks, notes = measure(config, console)
    text = model_table.text(rows, peaks, notes, footnote(thread_count(config.threads)))
    figures = {"machine": machine(), "peak_flops": peaks, "notes": notes,
               "rows": [row.as_figures() for row in rows]}  # fmt: skip
    return Report(text, figures)


def tasks(config: ModelConfig) -> Iterator[Task]:
    """The rows of the table; latency is of one image and in the precision of an export."""
    for model in config.models:
        for work in config.work:
            alone = work == "latency"
            for precision in PRECISIONS[:1] if alone else config.precisions:
                yield Task(
                    work,
                    model,
                    precision,
                    1 if alone else config.batch_size,
                    thread_count(config.threads),
                    config.image_size,
                )


def measure(config: ModelConfig, console: Console) -> tuple[list[Row], dict[str, float], list[str]]:
    """The rows, the machine's operations a second in each precision, and what did not work."""
    rows, peaks, notes = [], {}, []
    planned = list(tasks(config))
    turns = config.rounds + 1
    total = sum(turns * len(_entrants(task, config.timm)) for task in planned)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=total)
        for task in planned:
            progress.update(bar, description=str(task))
            row, complaints = _row(task, config, peaks, lambda n=1: progress.advance(bar, n))
            rows.append(row)
            notes += [note for note in complaints if note not in notes]
    return rows, peaks, notes


def _entrants(task: Task, timm: bool) -> dict[str, Contestant]:
    entrants = {OURS: Contestant(_OURS, task)}
    if timm:
        entrants["timm eager"] = Contestant(_TIMM, task)
        # Of one image at a time it is eager PyTorch that people have.
        if task.work != "latency":
            compiled = dataclasses.replace(task, compiled=True)
            entrants["timm compiled"] = Contestant(_TIMM, compiled)
    return entrants


def _row(
    task: Task, config: ModelConfig, peaks: dict[str, float], done: Callable[..., object]
) -> tuple[Row, list[str]]:
    """One row; a compiler that does not work is a note, and the others go on."""
    entrants, notes = _entrants(task, config.timm), []
    repetitions = config.latency_repetitions if task.work == "latency" else config.repetitions
    with ExitStack() as processes:
        for contestant in entrants.values():
            processes.callback(contestant.end)
        for name, contestant in list(entrants.items()):
            try:
                contestant.begin()
                done()
            except CannotCompile as error:
                notes.append(str(error))
                del entrants[name]
                done(config.rounds + 1)
        measurements = {
            name: lambda contestant=contestant: contestant.measure(config.warmup, repetitions)
            for name, contestant in entrants.items()
        }
        speeds = in_turn(measurements, config.rounds, done)
        memory = {name: contestant.memory() for name, contestant in entrants.items()}
        if task.precision not in peaks:
            peaks[task.precision] = entrants[OURS].product_peak(task.precision)
    operations = flops(task.variant, task.image_size) * _PASSES[task.work]
    share = speeds[OURS].median * operations / peaks[task.precision]
    return Row(task, speeds, memory, operations, share), notes
