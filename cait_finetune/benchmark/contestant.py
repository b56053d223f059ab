"""A contestant of a benchmark, in a process of its own: one library at a time, and its memory alone."""

from __future__ import annotations

import importlib
import os
import re
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from typing import Any

from cait_finetune.benchmark import memory
from cait_finetune.benchmark.task import Task, cores, limit_threads
from cait_finetune.errors import UserError
from cait_tf.memory import peak_memory, reset_peak_memory

# As JAX and PyTorch say it of a card; of the machine's own memory nobody is told.
_OUT_OF_MEMORY = re.compile("RESOURCE_EXHAUSTED|out of memory")
_SETTLE = 2  # calls in which graphs are made and code is compiled

_call: Callable[[], object]  # this and what follows: in the process of its own
_memory: Callable[[], memory.Memory]


class CannotCompile(UserError):
    """The compiler of a contestant does not work here."""


class Ended(UserError):
    """The process of a contestant was ended from outside."""

    @classmethod
    def of(cls, work: object, hint: str) -> Ended:
        """While it was at `work`."""
        return cls(
            f"{work}: got a process that the system ended, probably for want of memory, expected it "
            f"to finish\n  {hint}"
        )


class Contestant:
    """Does a task again and again when it is its turn.

    Args:
        module: a module whose ``prepare(task)`` returns a function that does the work once. For a task
            on a GPU it has ``device_memory()``, the most bytes of the card that the work takes.
    """

    def __init__(self, module: str, task: Task) -> None:
        self._task = task
        self._module = module
        # A process of a pool starts with its first work.
        self._process = ProcessPoolExecutor(
            1, get_context("spawn"), initializer=_restrict, initargs=(task.device, task.threads)
        )

    def begin(self) -> None:
        """Start the process, and let it do what only the first calls do.

        Raises:
            CannotCompile: it should, and cannot.
            UserError: a card has too little memory, and what `ask` raises.
        """
        self.ask(_begin, self._module, self._task)

    def measure(self, warmup: int, repetitions: int) -> float:
        """Images a second over so many calls, after some that do not count."""
        return self._task.batch_size / self.ask(_measure, warmup, repetitions)

    def memory(self) -> memory.Memory:
        """What the process has taken so far."""
        return self.ask(_measure_memory)

    def product_peak(self, precision: str) -> float:
        """What its module measures as the machine's operations a second in a matrix product."""
        return self.ask(_product_peak, self._module, precision)

    def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The answer of a function that is called in the process.

        Raises:
            Ended: the process is gone.
        """
        try:
            return self._process.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            raise Ended.of(self._task, "choose a smaller batch size or model") from error

    def end(self) -> None:
        """Stop the process."""
        self._process.shutdown(cancel_futures=True)


def _restrict(device: str, threads: int) -> None:
    """Let what is imported later see so many cores of a CPU, and nothing else, or the whole machine."""
    if device != "cpu":
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores()[:threads])
    limit_threads(threads)


def _begin(module: str, task: Task) -> None:
    from cait_tf.quiet import quiet_imports

    global _call, _memory
    with quiet_imports():
        library = importlib.import_module(module)
    libraries = memory.resident()
    try:
        _call = library.prepare(task)
        for _ in range(_SETTLE):
            _call()
    except Exception as error:
        if _OUT_OF_MEMORY.search(str(error)) is None:
            raise
        raise UserError(
            f"{task}, batch {task.batch_size}: got a card without that much memory free, expected room "
            "for all who take part\n  choose a smaller batch size or model, or add timm=false"
        ) from None
    if task.device == "cpu":
        life = peak_memory()
        reset_peak_memory()
        _memory = partial(_of_process, libraries, life)
    else:
        _memory = partial(_of_device, library.device_memory)


def _of_process(libraries: int, life: int) -> memory.Memory:
    calls = peak_memory()
    return memory.Memory(libraries, max(life, calls), calls)


def _of_device(peak: Callable[[], int]) -> memory.Memory:
    """There the libraries do not count."""
    most = peak()
    return memory.Memory(0, most, most)


def _measure(warmup: int, repetitions: int) -> float:
    """Seconds of a call."""
    for _ in range(warmup):
        _call()
    begin = time.perf_counter()
    for _ in range(repetitions):
        _call()
    return (time.perf_counter() - begin) / repetitions


def _product_peak(module: str, precision: str) -> float:
    return importlib.import_module(module).product_peak(precision)


def _measure_memory() -> memory.Memory:
    return _memory()
