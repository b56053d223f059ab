"""``python -m cait_finetune benchmark scale``: speed and memory by model and batch size."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from rich.console import Console

from cait_finetune.benchmark.comparison import (
    OURS_TENSORFLOW,
    Speeds,
    three_digits,
)
from cait_finetune.benchmark.tables import Report, footnote, machine
from cait_finetune.benchmark.task import (
    PRECISIONS,
    Task,
    check_choices,
    check_models,
    check_values,
    remat_choices,
)
from cait_finetune.benchmark.worker import Memory, Worker, WorkerKilled
from cait_finetune.report.style import drawing
from cait_finetune.runs.markdown import markdown_table
from cait_finetune.runtime.cores import core_count
from cait_finetune.runtime.progress import progress_bar

_WORKS = ("inference", "training")
_LIBRARIES = 0.8e9  # estimated bytes of a process that has imported TensorFlow
# Bytes per parameter. Training adds the gradient and Adam's two moments to the weight.
_PARAMETER = {"inference": 4, "training": 16}
_MACHINES = (8, 16, 24, 40, 80)  # GB
_LINE_STYLES = {("inference", False): ":", ("training", False): "-", ("training", True): "--"}


@dataclass
class ScaleBenchmark:
    """The keys of the command. It measures each of `models` × `work` × `batch_sizes` on the CPU.

    A new process measures each batch size: `rounds` measurements of `repetitions` calls after
    `warmup` calls. Training is measured with and without ``model.remat``. Each batch is one
    micro-batch, as on an accelerator. The command skips a batch that would not fit into the
    available memory, and reports the batch. `image_size` null uses each model's own size. `threads`
    0 uses all cores.
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

    def check(self) -> None:
        """Check every key before any worker process starts; raise UserError."""
        check_values(self)
        check_choices("work", self.work, _WORKS)
        check_choices("precision", [self.precision], PRECISIONS)
        core_count(self.threads)
        check_models(self.models, self.image_size, timm=False)

    def report(self, console: Console) -> Report:
        """Measure all series and return the tables."""
        planned = list(self.tasks())
        measured = []
        with progress_bar("", sum(map(len, planned)), console, unit="") as advance:
            for tasks in planned:
                measured.append(Series(tasks[0]))
                for task in tasks:
                    advance(0, f"{task}, batch {task.batch_size}")
                    measured[-1].measure(task, self)
                    advance()
        text = table(measured, footnote(core_count(self.threads), timm=False))
        values = {"machine": machine(timm=False), "series": [one.as_dict() for one in measured]}
        any_peaks = any(series.peaks for series in measured)
        return Report(text, values, partial(draw, measured) if any_peaks else None)

    def tasks(self) -> Iterator[list[Task]]:
        """Yield the tasks of each series, from the smallest batch to the largest."""
        for model, work in product(self.models, self.work):
            for remat in remat_choices(work, (False, True)):
                yield [
                    Task(work, model, self.precision, size, core_count(self.threads),
                         self.repetitions, self.image_size, remat, whole=True)
                    for size in sorted(set(self.batch_sizes))
                ]  # fmt: skip


@dataclass(frozen=True)
class Line:
    """Memory as a linear function of the batch size: fixed bytes, and bytes per image."""

    fixed: float
    per_image: float

    @classmethod
    def fit(cls, peaks: Mapping[int, float]) -> Line:
        """Fit peak bytes by batch size with least squares. It needs two batch sizes or more."""
        slope, fixed = np.polyfit(list(peaks), np.array(list(peaks.values()), float), 1)
        return cls(float(fixed), float(slope))

    def at(self, batch_size: int) -> float:
        """Return the bytes of a batch of `batch_size` images."""
        return self.fixed + self.per_image * batch_size

    def largest(self, available: float) -> int:
        """Return the largest batch size that fits into `available` bytes; 0 if no batch fits."""
        return max(0, math.floor((available - self.fixed) / self.per_image))


@dataclass
class Series:
    """Speed and memory of one kind of work on one model, by batch size.

    Attributes:
        task: the task of the smallest batch.
        skipped: why a batch size was skipped, by batch size.
    """

    task: Task
    speeds: dict[int, Speeds] = field(default_factory=dict)
    memory: dict[int, Memory] = field(default_factory=dict)
    skipped: dict[int, str] = field(default_factory=dict)

    @property
    def peaks(self) -> dict[int, int]:
        """Peak bytes during the calls, libraries included, by batch size."""
        return {size: memory.calls for size, memory in self.memory.items()}

    @property
    def line(self) -> Line | None:
        """The line through the peaks. `None`: fewer than two peaks, or peaks that do not grow."""
        line = Line.fit(self.peaks) if len(self.peaks) > 1 else None
        return line if line and line.per_image > 0 else None

    def forecast(self, batch_size: int) -> float:
        """Return the bytes that a batch is expected to need.

        The forecast fits the batch sizes measured so far. With fewer than two of them, it also uses
        the estimated memory of the libraries and parameters.
        """
        start = _LIBRARIES + self.task.variant.parameters * _PARAMETER[self.task.work]
        if not self.peaks:
            return start
        known = self.peaks if len(self.peaks) > 1 else {0: start, **self.peaks}
        return Line.fit(known).at(batch_size)

    def measure(self, task: Task, config: ScaleBenchmark) -> None:
        """Measure one batch size, or record why it is skipped."""
        size = task.batch_size
        expected, free = self.forecast(size), psutil.virtual_memory().available
        if self.skipped or expected > free:
            self.skipped[size] = (
                "a smaller batch did not fit" if self.skipped else
                f"would take {expected / 1e9:.1f} GB of the {free / 1e9:.1f} GB available"
            )  # fmt: skip
            return
        worker = Worker(OURS_TENSORFLOW, task)
        try:
            worker.start()
            speeds = tuple(worker.measure(config.warmup) for _ in range(config.rounds))
            self.speeds[size], self.memory[size] = Speeds(speeds), worker.memory()
        except WorkerKilled:
            self.skipped[size] = "the system ended it, probably for want of memory"
        finally:
            worker.stop()

    def as_dict(self) -> dict[str, Any]:
        """Return values for JSON."""
        line = dataclasses.asdict(self.line) if self.line else None
        return {**dataclasses.asdict(self), "line_bytes": line}


def table(measured: Sequence[Series], footnote: str) -> str:
    """Return Markdown: speed, memory, the largest training batches, and skipped batch sizes."""
    rows = [
        [str(series.task), str(size), str(series.speeds[size]), f"{peak / 1e9:.2f}"]
        for series in measured
        for size, peak in series.peaks.items()
    ]
    parts = ["Images a second, and peak memory while working.\n",
             markdown_table(["work", "batch", "img/s", "GB"], rows)]  # fmt: skip
    largest = [
        [str(series.task), three_digits(line.per_image / 1e6),
         *(str(line.largest(size * 1e9) or "none") for size in _MACHINES)]
        for series in measured
        if series.task.work == "training" and (line := series.line)
    ]  # fmt: skip
    if largest:
        header = ["work", "MB an image", *(f"{size} GB" for size in _MACHINES)]
        parts += ["Largest batch that training fits into so much memory: a line through the peaks\n"
                  "above (a CPU's memory, libraries included):\n",
                  markdown_table(header, largest)]  # fmt: skip
    for series in measured:
        parts += [f"left out: {series.task}, batch {size}: {why}\n"
                  for size, why in series.skipped.items()]  # fmt: skip
    return "\n".join([*parts, footnote])


def draw(measured: Sequence[Series], path: Path) -> None:
    """Write a PNG: images per second and peak memory by batch size, with one colour per model."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator, NullLocator

    models = list(dict.fromkeys(series.task.model for series in measured))
    colours = {model: f"C{number}" for number, model in enumerate(models)}
    handles = {model: Line2D([], [], color=colour) for model, colour in colours.items()}
    ticks = sorted({size for series in measured for size in series.peaks})
    with drawing():
        figure = Figure(figsize=(11, 4.6), layout="constrained")
        speed, memory = figure.subplots(1, 2)
        for series in measured:
            task, sizes = series.task, list(series.peaks)
            style = _LINE_STYLES[task.work, task.remat]
            name = f"{task.work}{' with remat' if task.remat else ''}"
            handles[name] = Line2D([], [], color="grey", linestyle=style)
            look = {"color": colours[task.model], "ls": style, "marker": "o", "ms": 3}
            speed.plot(sizes, [one.median for one in series.speeds.values()], **look)
            memory.plot(sizes, [peak / 1e9 for peak in series.peaks.values()], **look)
        speed.set(title="images a second")
        memory.set(title="peak memory while working, GB")
        for axes in (speed, memory):
            axes.set(xlabel="batch size", xscale="log", yscale="log")
            axes.set_xticks(ticks, [str(size) for size in ticks], minor=False)
            axes.set_xticks([], minor=True)
            axes.grid(alpha=0.3)
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.yaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        figure.legend(handles.values(), handles.keys(), loc="outside right upper")
        figure.savefig(path, dpi=110)
