"""``python -m cait_finetune benchmark scale``: speed and memory against the sizes of model and batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import psutil
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from cait_finetune.benchmark import scale_table
from cait_finetune.benchmark.contestant import Contestant, Ended
from cait_finetune.benchmark.line import forecast
from cait_finetune.benchmark.report import Report, footnote, machine
from cait_finetune.benchmark.rounds import Speeds
from cait_finetune.benchmark.scale_picture import draw
from cait_finetune.benchmark.scale_row import Series
from cait_finetune.benchmark.task import (
    PRECISIONS,
    Task,
    check_choices,
    check_models,
    check_repetition,
    thread_count,
)
from cait_finetune.errors import bad_value

_OURS = "cait_finetune.benchmark.ours"
_WORKS = ("inference", "training")
_LIBRARIES = 0.8e9  # bytes, about, of TensorFlow in a process that does nothing
_PARAMETER = {"inference": 4, "training": 16}  # bytes: the weight, its gradient, Adam's two means


@dataclass
class ScaleConfig:
    """The keys of the command: each of `models` with each of `batch_sizes`, on the CPU.

    Each is a fresh process that makes `rounds` measurements of `repetitions` calls, after `warmup`
    that do not count. Training is measured with and without ``model.remat``, and takes a batch as a
    whole, as accelerators do. What would not fit into the memory that is available is left out, and
    said. `image_size` null is each model's own.
    """

    models: list[str] = field(
        default_factory=lambda: [
            "cait_xxs24_224", "cait_xxs36_224", "cait_s24_224", "cait_xxs24_384", "cait_s24_384",
        ]
    )  # fmt: skip
    work: list[str] = field(default_factory=lambda: list(_WORKS))
    batch_sizes: list[int] = field(default_factory=lambda: [1, 4, 16])
    image_size: int | None = None
    precision: str = "float32"
    threads: int = 2
    warmup: int = 1
    repetitions: int = 2
    rounds: int = 3
    out: str = "benchmark_scale"


SCHEMA = ScaleConfig


def check(config: ScaleConfig) -> None:
    """Everything that can be wrong, before anything is started.

    Raises:
        UserError: something is.
    """
    check_choices("work", config.work, _WORKS)
    check_choices("precision", [config.precision], PRECISIONS)
    if not config.batch_sizes or min(config.batch_sizes) < 1:
        raise bad_value("batch_sizes", config.batch_sizes, "one or more numbers, each at least 1")
    check_repetition(config)
    thread_count(config.threads)
    check_models(config.models, config.image_size, timm=False)


def report(config: ScaleConfig, console: Console) -> Report:
    """Measure all series; what is left out is a row, too."""
    measured = measure(config, console)
    text = scale_table.text(measured, footnote(thread_count(config.threads)))
    figures = {"machine": machine(), "series": [series.as_figures() for series in measured]}
    return Report(
        text, figures, partial(draw, measured) if any(one.peaks for one in measured) else None
    )


def measure(config: ScaleConfig, console: Console) -> list[Series]:
    """A series for each model and kind of work, from the smallest batch to the largest."""
    sizes = sorted(set(config.batch_sizes))
    planned = [list(tasks) for tasks in _planned(config, sizes)]
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    measured = []
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=len(planned) * len(sizes))
        for tasks in planned:
            series = Series(tasks[0])
            measured.append(series)
            for task in tasks:
                progress.update(bar, description=f"{task}, batch {task.batch_size}")
                _add(series, task, config)
                progress.advance(bar)
    return measured


def _planned(config: ScaleConfig, sizes: list[int]) -> Iterator[Iterator[Task]]:
    threads = thread_count(config.threads)
    for model in config.models:
        for work in config.work:
            for remat in (False, True) if work == "training" else (False,):
                make = partial(Task, work, model, config.precision, threads=threads,
                               image_size=config.image_size, remat=remat, whole=True)  # fmt: skip
                yield (make(batch_size=size) for size in sizes)


def _add(series: Series, task: Task, config: ScaleConfig) -> None:
    """Measure one batch size, or write down why not."""
    size = task.batch_size
    start = _LIBRARIES + task.variant.parameters * _PARAMETER[task.work]
    expected, free = forecast(series.peaks, start, size), psutil.virtual_memory().available
    if series.skipped:
        series.skipped[size] = "a smaller batch did not fit"
    elif expected > free:
        series.skipped[size] = (
            f"would take {expected / 1e9:.1f} GB of the {free / 1e9:.1f} GB available"
        )
    else:
        contestant = Contestant(_OURS, task)
        try:
            contestant.begin()
            rounds = [
                contestant.measure(config.warmup, config.repetitions) for _ in range(config.rounds)
            ]
            series.add(size, Speeds(tuple(rounds)), contestant.memory())
        except Ended:
            series.skipped[size] = "the system ended it, probably for want of memory"
        finally:
            contestant.end()
