"""A worker process that measures the speed and memory of one library."""

from __future__ import annotations

import importlib
import os
import re
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import psutil

from cait_finetune.benchmark.task import InputTask, Task
from cait_finetune.errors import UserError, bad_value
from cait_finetune.runtime.cores import cores, limit_threads
from cait_tf.memory import peak_memory, reset_peak_memory

# Errors of JAX and PyTorch on full GPU memory. On full main memory the system kills the process.
_OUT_OF_MEMORY = re.compile("RESOURCE_EXHAUSTED|out of memory")
_SETTLE = 2  # first calls, which trace graphs and compile code


class CannotCompile(UserError):
    """The library's compiler does not work on this machine."""


class WorkerKilled(UserError):
    """The system ended the process."""

    def __init__(self, work: object, hint: str) -> None:
        super().__init__(f"{work}: got a process that the system ended, probably for lack of memory, "
                         f"expected it to finish\n  {hint}")  # fmt: skip


@dataclass(frozen=True)
class Memory:
    """Memory of a worker process, in bytes.

    Attributes:
        libraries: resident memory after the imports. 0 on a GPU.
        life: peak since the process started.
        calls: peak since the end of the first calls, which trace and compile. On a GPU equal to `life`.
    """

    libraries: int
    life: int
    calls: int

    @property
    def work(self) -> int:
        """Peak of the calls minus the memory of the libraries."""
        return self.calls - self.libraries


class Worker:
    """Repeat a task in a separate process.

    Args:
        module: name of a module with ``prepare(task)``, which returns a function that executes the task
            once. For GPU tasks the module also needs ``device_memory()``: peak bytes of GPU memory.
            `matmul_flops` also needs ``matmul_flops(precision)``: operations per second.
        task: the task.
    """

    def __init__(self, module: str, task: Task | InputTask) -> None:
        self._module, self._task = module, task
        # The process starts at the first submitted call.
        self._process = ProcessPoolExecutor(
            1, get_context("spawn"), initializer=_restrict, initargs=(task.device, task.threads)
        )

    def start(self) -> None:
        """Start the process, import the library and make the first calls.

        Raises:
            CannotCompile: the task needs a compiler that does not work on this machine.
            WorkerKilled: as in `ask`.
            UserError: the GPU has too little free memory.
        """
        self.ask(_start, self._module, self._task)

    def measure(self, warmup: int) -> float:
        """Return images per second over the task's repetitions, after `warmup` calls."""
        return self._task.batch_size / self.ask(_seconds, warmup, self._task.repetitions)

    def memory(self) -> Memory:
        """Return the memory that the process has used so far."""
        return self.ask(_read_memory)

    def matmul_flops(self) -> float:
        """Return operations per second of the fastest matrix product in the task's precision."""
        return self.ask(_matmul_flops, self._module, self._task.precision)

    def ask(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in the process and return its result.

        Raises:
            WorkerKilled: the system has ended the process.
        """
        try:
            return self._process.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            raise WorkerKilled(self._task, "Set a smaller batch size or model.") from error

    def stop(self) -> None:
        """End the process."""
        self._process.shutdown(cancel_futures=True)


# The functions below run in the worker process.

_call: Callable[[], object]
_memory: Callable[[], Memory]


def _restrict(device: str, threads: int) -> None:
    """Limit a CPU task to `threads` cores and threads, and hide every GPU. Do not limit a GPU task."""
    if device != "cpu":
        return
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, cores()[:threads])
    limit_threads(threads)


def _start(module: str, task: Task | InputTask) -> None:
    from cait_tf.quiet import quiet_imports

    global _call, _memory
    with quiet_imports():
        library = importlib.import_module(module)
    libraries = psutil.Process().memory_info().rss
    try:
        _call = library.prepare(task)
        for _ in range(_SETTLE):
            _call()
    except Exception as error:
        if _OUT_OF_MEMORY.search(str(error)) is None:
            raise
        raise bad_value(f"{task}, batch {task.batch_size}", "a GPU with too little free memory",
                        "enough memory for all workers",
                        "Set a smaller batch size or timm=false.") from None  # fmt: skip
    first_calls = peak_memory()
    reset_peak_memory()

    def of_process() -> Memory:
        calls = peak_memory()
        return Memory(libraries, max(first_calls, calls), calls)

    def of_device() -> Memory:
        return Memory(0, library.device_memory(), library.device_memory())

    _memory = of_process if task.device == "cpu" else of_device


def _read_memory() -> Memory:
    return _memory()


def _seconds(warmup: int, repetitions: int) -> float:
    """Return the mean seconds per call."""
    for _ in range(warmup):
        _call()
    begin = time.perf_counter()
    for _ in range(repetitions):
        _call()
    return (time.perf_counter() - begin) / repetitions


def _matmul_flops(module: str, precision: str) -> float:
    return importlib.import_module(module).matmul_flops(precision)
