"""Libraries measured in turn on the same tasks: medians, ratios and memory."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from rich.console import Console

from cait_finetune.benchmark.roofline import task_flops
from cait_finetune.benchmark.task import InputTask, Task
from cait_finetune.benchmark.worker import CannotCompile, Memory, Worker
from cait_finetune.runtime.progress import progress_bar

OURS, OURS_SINGLE = "ours", "ours, one thread an operation"
TIMM_NAMES = TIMM_EAGER, TIMM_COMPILED, TIMM_LOADER = "timm eager", "timm compiled", "timm"
TIMM = "cait_finetune.benchmark.worker_timm"
OURS_TENSORFLOW = "cait_finetune.benchmark.worker_tensorflow"
OURS_JAX = "cait_finetune.benchmark.worker_jax"


@dataclass(frozen=True)
class Speeds:
    """One library's measurements, one per round: images per second, or seconds."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds)

    def __str__(self) -> str:
        low, high = min(self.rounds), max(self.rounds)
        return f"{three_digits(self.median)} ({three_digits(low)}–{three_digits(high)})"


def three_digits(value: float) -> str:
    """Format with three significant digits, or all digits before the point."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ratio(ours: Speeds, theirs: Speeds) -> float:
    """Return the median of the rounds' ratios, in which a slow round cancels out."""
    return statistics.median(
        one / other for one, other in zip(ours.rounds, theirs.rounds, strict=True)
    )


def in_turn(
    measurements: Mapping[str, Callable[[], float]], rounds: int, done: Callable[[], object]
) -> dict[str, Speeds]:
    """Measure everything once per round, so that a busy machine slows all alike.

    Args:
        done: called after each measurement.
    """
    measured: dict[str, list[float]] = {name: [] for name in measurements}
    for number in range(rounds):
        # The order alternates: the second measurement finds the machine warm.
        for name in list(measurements)[:: -1 if number % 2 else 1]:
            measured[name].append(measurements[name]())
            done()
    return {name: Speeds(tuple(speeds)) for name, speeds in measured.items()}


@dataclass(frozen=True)
class Row:
    """Speed and memory of every library on one task.

    Attributes:
        share: of the machine's fastest matrix product, that ours reached. `None` of an input.
    """

    task: Task | InputTask
    speeds: Mapping[str, Speeds]
    memory: Mapping[str, Memory]
    share: float | None

    @property
    def best(self) -> str | None:
        """The faster of timm's; `None` without timm."""
        names = [name for name in self.speeds if name in TIMM_NAMES]
        return max(names, key=lambda name: self.speeds[name].median, default=None)

    def ratio(self, name: str = OURS) -> float | None:
        """Return our speed to that of timm's best; `None` where one is missing."""
        if self.best is None or name not in self.speeds:
            return None
        return ratio(self.speeds[name], self.speeds[self.best])

    @property
    def memory_ratio(self) -> float | None:
        """Our peak to the smaller of timm's, libraries included."""
        theirs = [one.calls for name, one in self.memory.items() if name in TIMM_NAMES]
        return self.memory[OURS].calls / min(theirs) if theirs else None


@dataclass(frozen=True)
class Comparison:
    """The rows, operations per second of the fastest matrix product by precision, and notes.

    TensorFlow and PyTorch multiply with libraries of their own on a CPU. Where one of the two does not
    know the processor, `timm_peaks` shows it.
    """

    rows: list[Row] = field(default_factory=list)
    peaks: dict[str, float] = field(default_factory=dict)
    timm_peaks: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def add(
        self,
        task: Task | InputTask,
        workers: Mapping[str, Worker],
        config: Any,
        done: Callable[[], object],
    ) -> None:
        """Measure the workers of a task in turn; measure the peak where the precision is new."""
        measurements = {
            name: partial(worker.measure, config.warmup) for name, worker in workers.items()
        }
        speeds = in_turn(measurements, config.rounds, done)
        memory = {name: worker.memory() for name, worker in workers.items()}
        share = None
        if isinstance(task, Task):
            if task.precision not in self.peaks:
                self.peaks[task.precision] = workers[OURS].matmul_flops()
                if task.device == "cpu" and TIMM_EAGER in workers:
                    self.timm_peaks[task.precision] = workers[TIMM_EAGER].matmul_flops()
            share = speeds[OURS].median * task_flops(task) / self.peaks[task.precision]
        self.rows.append(Row(task, speeds, memory, share))


def compare(
    tasks: Sequence[Task | InputTask], ours: str, config: Any, console: Console
) -> Comparison:
    """Measure a row for each task.

    Args:
        ours: module of our worker.
        config: ``timm``: measure timm, too. ``rounds``: measurements of each library. ``warmup``: calls
            before a measurement.

    Raises:
        UserError: the system ended a process.
    """
    comparison = Comparison()
    planned = [(task, _by_library(task, config.timm)) for task in tasks]
    total = (config.rounds + 1) * sum(len(tasks) for _, tasks in planned)
    with progress_bar("", total, console, unit="") as advance, ExitStack() as stack:
        for task, tasks in planned:
            advance(0, str(task))
            workers: dict[str, Worker] = {}
            for name, own in tasks.items():
                worker = Worker(TIMM if name in TIMM_NAMES else ours, own)
                stack.callback(worker.stop)
                try:
                    worker.start()
                    workers[name] = worker
                    advance()
                except CannotCompile as error:  # measure the others
                    comparison.notes.append(str(error))
                    advance(config.rounds + 1)
            comparison.add(task, workers, config, advance)
            stack.close()
    return comparison


def _by_library(task: Task | InputTask, timm: bool) -> dict[str, Task | InputTask]:
    """Return the task of each worker by its name in the tables."""
    if isinstance(task, InputTask):
        return {OURS: task, **({TIMM_LOADER: task} if timm else {})}
    eager = {TIMM_EAGER: task} if timm else {}
    if task.work == "latency":
        # For one image people use eager PyTorch.
        return {OURS: task, OURS_SINGLE: dataclasses.replace(task, single_threaded=True), **eager}
    compiled = {TIMM_COMPILED: dataclasses.replace(task, compiled=True)} if timm else {}
    return {OURS: task, **eager, **compiled}
