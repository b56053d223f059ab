"""Rows of a table measured: for each task its contestants, in turn, beside each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from cait_finetune.benchmark.contestant import CannotCompile, Contestant
from cait_finetune.benchmark.flops import flops, trunk_flops
from cait_finetune.benchmark.model_row import OURS, OURS_SINGLE, TIMM_COMPILED, TIMM_EAGER, Row
from cait_finetune.benchmark.rounds import in_turn
from cait_finetune.benchmark.task import PRODUCTS, Task

_TIMM = "cait_finetune.benchmark.timm_model"
_TRAINING_PASSES = 3  # in operations: the backward pass has two products for each of the forward's


@dataclass(frozen=True)
class Rules:
    """How often: `rounds` measurements of each, of `repetitions` calls (by the kind of work) after
    `warmup` that do not count. `ours` is the module of our side; `timm` whether there is the other."""

    ours: str
    timm: bool
    warmup: int
    repetitions: Callable[[Task], int]
    rounds: int


@dataclass(frozen=True)
class Measured:
    """The rows, the machine's operations a second in each precision, and what did not work.

    `peaks` are of our side's products, `timm_peaks` of PyTorch's where it took part on a CPU: there each
    has a library of its own for them, and a processor that one of the two does not know widens a ratio.
    """

    rows: list[Row]
    peaks: dict[str, float]
    timm_peaks: dict[str, float]
    notes: list[str]


def measure(planned: Sequence[Task], rules: Rules, console: Console) -> Measured:
    """A row for each task.

    Raises:
        UserError: a process was ended by the system.
    """
    measured = Measured([], {}, {}, [])
    entrants = [_entrants(task, rules.timm) for task in planned]
    total = (rules.rounds + 1) * sum(map(len, entrants))
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("", total=total)
        for task, names in zip(planned, entrants, strict=True):
            progress.update(bar, description=str(task))
            _add(measured, task, names, rules, lambda n=1: progress.advance(bar, n))
    return measured


def _entrants(task: Task, timm: bool) -> dict[str, Task]:
    """What each has to do."""
    if task.work in PRODUCTS:
        return {OURS: task}
    if task.work == "latency":
        # Of one image at a time it is eager PyTorch that people have.
        single = dataclasses.replace(task, single_threaded=True)
        return {OURS: task, OURS_SINGLE: single, **({TIMM_EAGER: task} if timm else {})}
    compiled = dataclasses.replace(task, compiled=True)
    return {OURS: task, **({TIMM_EAGER: task, TIMM_COMPILED: compiled} if timm else {})}


def _add(
    measured: Measured,
    task: Task,
    tasks: dict[str, Task],
    rules: Rules,
    done: Callable[..., object],
) -> None:
    """One row; a compiler that does not work is a note, and the others go on."""
    with ExitStack() as processes:
        entrants = {}
        for name, its in tasks.items():
            contestant = Contestant(rules.ours if name in (OURS, OURS_SINGLE) else _TIMM, its)
            processes.callback(contestant.end)
            try:
                contestant.begin()
                entrants[name] = contestant
                done()
            except CannotCompile as error:
                if str(error) not in measured.notes:
                    measured.notes.append(str(error))
                done(rules.rounds + 1)
        measurements = {
            name: lambda one=one: one.measure(rules.warmup, rules.repetitions(task))
            for name, one in entrants.items()
        }
        speeds = in_turn(measurements, rules.rounds, done)
        memory = {name: one.memory() for name, one in entrants.items()}
        _add_peak(measured.peaks, task.precision, entrants[OURS])
        if task.device == "cpu" and TIMM_EAGER in entrants:
            _add_peak(measured.timm_peaks, task.precision, entrants[TIMM_EAGER])
    count = trunk_flops if task.work in PRODUCTS else flops
    operations = count(task.variant, task.image_size)
    if PRODUCTS.get(task.work, task.work) == "training":
        operations *= _TRAINING_PASSES
    share = speeds[OURS].median * operations / measured.peaks[task.precision]
    measured.rows.append(Row(task, speeds, memory, operations, share))


def _add_peak(peaks: dict[str, float], precision: str, contestant: Contestant) -> None:
    if precision not in peaks:
        peaks[precision] = contestant.product_peak(precision)
