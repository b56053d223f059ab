"""Contestants that do nothing: one that runs in a process of its own, and one without any."""

import os
import signal
from dataclasses import replace

from cait_finetune.benchmark.contestant import CannotCompile, Ended
from cait_finetune.benchmark.memory import Memory
from cait_finetune.benchmark.task import Task

TASK = Task("training", "cait_nano_32", "float32", batch_size=8, threads=1)
COMPILED = replace(TASK, compiled=True)


def prepare(task):
    """What `Contestant` calls in the process of its own."""
    if task.compiled:
        raise CannotCompile("torch.compile: no compiler")
    if task.work == "latency":
        os.kill(os.getpid(), signal.SIGKILL)
    if task.device == "gpu":
        raise RuntimeError("CUDA out of memory. Tried to allocate")
    kept = []
    # Several times what Python and its heap have at hand.
    return lambda: kept.append(bytearray(b"1" * 20_000_000)) if len(kept) < 4 else None


def product_peak(precision):
    """The cores that the process may use."""
    return len(os.sched_getaffinity(0)) + (precision == "float32") * 100


class StandIn:
    """Speeds by who it is; in training 0.1 GB an image beside almost 1 GB, a tenth of it with remat."""

    speeds = {"cait_finetune.benchmark.ours": 30.0, "cait_finetune.benchmark.timm_model": 10.0}
    compiler = True
    most = 100

    def __init__(self, module, task):
        self.module, self.task, self.ended = module, task, False

    def begin(self):
        if self.task.compiled and not self.compiler:
            raise CannotCompile("torch.compile: no compiler")
        if self.task.batch_size > self.most:
            raise Ended("gone")

    def measure(self, warmup, repetitions):
        return self.speeds[self.module] * (
            2 if self.task.compiled or self.task.single_threaded else 1
        )

    def memory(self):
        image = 10_000_000 if self.task.remat else 100_000_000
        calls = 999_000_000 + image * self.task.batch_size
        return Memory(400_000_000, calls, calls)

    def product_peak(self, precision):
        return 4e11 if self.module.endswith("timm_model") else 1e12

    def end(self):
        self.ended = True
