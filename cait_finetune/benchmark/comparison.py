"""Measure libraries in turn on the same tasks: medians, ratios and memory."""

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
from cait_finetune.benchmark.worker import CannotCompile, Memory, Worker, WorkerKilled
from cait_finetune.runtime.progress import progress_bar

OURS, OURS_SINGLE = "ours", "ours, one thread per operation"
TIMM_NAMES = TIMM_EAGER, TIMM_COMPILED, TIMM_LOADER = "timm eager", "timm compiled", "timm"
TIMM = "cait_finetune.benchmark.worker_timm"
OURS_TENSORFLOW = "cait_finetune.benchmark.worker_tensorflow"
OURS_JAX = "cait_finetune.benchmark.worker_jax"


@dataclass(frozen=True)
class Speeds:
    """Measurements of one worker or run, one per round. The caller chooses their unit."""

    rounds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return statistics.median(self.rounds)

    def __str__(self) -> str:
        low, high = min(self.rounds), max(self.rounds)
        return f"{three_digits(self.median)} ({three_digits(low)}–{three_digits(high)})"


def three_digits(value: float) -> str:
    """Format with three significant digits. From 100 on, format as an integer."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ratio(ours: Speeds, theirs: Speeds) -> float:
    """Return the median of the rounds' ratios. A slow round slows both libraries alike."""
    return statistics.median(
        one / other for one, other in zip(ours.rounds, theirs.rounds, strict=True)
    )


def in_turn(
    measurements: Mapping[str, Callable[[], float]], rounds: int, done: Callable[[], object]
) -> dict[str, Speeds]:
    """Measure each name once per round, and return the measurements by name.

    A busy machine then slows all of them alike.

    Args:
        measurements: functions that measure, by name.
        done: called after each measurement.
    """
    measured: dict[str, list[float]] = {name: [] for name in measurements}
    for number in range(rounds):
        # Alternate the order, because a warm machine may favour the later measurements.
        for name in list(measurements)[:: -1 if number % 2 else 1]:
            measured[name].append(measurements[name]())
            done()
    return {name: Speeds(tuple(speeds)) for name, speeds in measured.items()}


@dataclass(frozen=True)
class Row:
    """Speed and memory of every library on one task.

    Attributes:
        share: our operations per second divided by those of the machine's fastest matrix product.
            `None` for an input task.
    """

    task: Task | InputTask
    speeds: Mapping[str, Speeds]
    memory: Mapping[str, Memory]
    share: float | None

    @property
    def best(self) -> str | None:
        """The name of timm's fastest worker. `None`: timm was not measured."""
        names = [name for name in self.speeds if name in TIMM_NAMES]
        return max(names, key=lambda name: self.speeds[name].median, default=None)

    def ratio(self, name: str = OURS) -> float | None:
        """Return our speed divided by timm's best speed. `None`: one of them was not measured."""
        if self.best is None or name not in self.speeds:
            return None
        return ratio(self.speeds[name], self.speeds[self.best])

    @property
    def memory_ratio(self) -> float | None:
        """Our peak memory divided by timm's smallest peak, libraries included on a CPU. `None`: no timm."""
        theirs = [one.calls for name, one in self.memory.items() if name in TIMM_NAMES]
        return self.memory[OURS].calls / min(theirs) if theirs else None


@dataclass(frozen=True)
class Comparison:
    """The rows of a benchmark, the peaks of the machine, and notes.

    On a CPU, TensorFlow and PyTorch use different libraries for matrix products. `timm_peaks` shows
    when one of these libraries is not optimised for the processor.

    Attributes:
        peaks: operations per second of our library's fastest matrix product, by precision.
        timm_peaks: the same for PyTorch. Empty on a GPU and without timm.
        notes: why a worker was not measured.
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
        """Measure the workers of a task in turn, and the peak of its precision if not yet known."""
        measurements = {name: partial(one.measure, config.warmup) for name, one in workers.items()}
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

    If the system ends a worker, the worker's task has no row. The function then skips the same task
    with larger batches.

    Args:
        ours: module of our worker.
        config: ``timm``: measure timm, too. ``rounds``: measurements of each library. ``warmup``: calls
            before a measurement.

    Raises:
        UserError: a library sees no GPU, or the GPU has too little free memory.
    """
    comparison = Comparison()
    too_large: set[Task | InputTask] = set()  # each with batch size 0
    planned = [(task, _by_library(task, config.timm)) for task in tasks]
    total = (config.rounds + 1) * sum(len(tasks) for _, tasks in planned)
    with progress_bar("", total, console, unit="") as advance, ExitStack() as stack:
        for task, tasks in planned:
            advance(0, f"{task}, batch {task.batch_size}")
            if series(task) in too_large:
                comparison.notes.append(
                    f"{task}, batch {task.batch_size}: a smaller batch did not fit"
                )
                advance((config.rounds + 1) * len(tasks))
                continue
            try:
                workers = _started(tasks, ours, stack, comparison.notes, advance)
                comparison.add(task, workers, config, advance)
            except WorkerKilled as error:
                too_large.add(series(task))
                comparison.notes.append(f"batch {task.batch_size}: {error}")
            stack.close()
    return comparison


def series(task: Task | InputTask) -> Task | InputTask:
    """Return the task with batch size 0, which is equal for tasks that differ only in the batch."""
    return dataclasses.replace(task, batch_size=0)


def _started(
    tasks: Mapping[str, Task | InputTask],
    ours: str,
    stack: ExitStack,
    notes: list[str],
    advance: Callable[..., object],
) -> dict[str, Worker]:
    """Start the workers of a task. A library that cannot compile gets a note and no worker."""
    workers: dict[str, Worker] = {}
    for name, own in tasks.items():
        worker = Worker(TIMM if name in TIMM_NAMES else ours, own)
        stack.callback(worker.stop)
        try:
            worker.start()
            workers[name] = worker
        except CannotCompile as error:
            notes.append(str(error))
        advance()
    return workers


def _by_library(task: Task | InputTask, timm: bool) -> dict[str, Task | InputTask]:
    """Return the task of each worker, by the worker's name in the tables."""
    if isinstance(task, InputTask):
        return {OURS: task, **({TIMM_LOADER: task} if timm else {})}
    eager = {TIMM_EAGER: task} if timm else {}
    if task.work == "latency":
        # For single images, PyTorch users rarely compile.
        return {OURS: task, OURS_SINGLE: dataclasses.replace(task, single_threaded=True), **eager}
    compiled = {TIMM_COMPILED: dataclasses.replace(task, compiled=True)} if timm else {}
    return {OURS: task, **eager, **compiled}
