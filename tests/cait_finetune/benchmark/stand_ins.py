"""Stand-ins for benchmark workers: a module for a worker process, and a class without a process."""

import os
import signal
from dataclasses import replace

from cait_finetune.benchmark.comparison import OURS_TENSORFLOW, TIMM
from cait_finetune.benchmark.task import Task
from cait_finetune.benchmark.worker import CannotCompile, Memory, WorkerKilled

TASK = Task("training", "cait_nano_32", "float32", batch_size=8, threads=1)
COMPILED = replace(TASK, compiled=True)


def prepare(task):
    """Return a function that keeps 20 MB per call, up to four calls.

    `Worker` calls `prepare` in its worker process. A compiled task and a GPU task raise an error. A
    latency task kills the process.
    """
    if task.compiled:
        raise CannotCompile("torch.compile: no compiler")
    if task.work == "latency":
        os.kill(os.getpid(), signal.SIGKILL)
    if task.device == "gpu":
        raise RuntimeError("CUDA out of memory. Tried to allocate")
    kept = []
    # Each call keeps far more memory than Python's heap has free.
    return lambda: kept.append(bytearray(b"1" * 20_000_000)) if len(kept) < 4 else None


def matmul_flops(precision):
    """Return the number of cores that the process may use, plus 100 for float32."""
    return len(os.sched_getaffinity(0)) + (precision == "float32") * 100


class StandIn:
    """Worker with constant speed and memory, without a process.

    The first calls take almost 1 GB, plus 0.1 GB per image, or 0.01 GB per image with remat.
    """

    speeds = {OURS_TENSORFLOW: 30.0, TIMM: 10.0}
    compiler = True
    most = 100

    def __init__(self, module, task):
        self.module, self.task, self.stopped = module, task, False

    def start(self):
        if self.task.compiled and not self.compiler:
            raise CannotCompile("torch.compile: no compiler")
        if self.task.batch_size > self.most:
            raise WorkerKilled("gone", "")

    def measure(self, warmup):
        return self.speeds[self.module] * (
            2 if self.task.compiled or self.task.single_threaded else 1
        )

    def memory(self):
        image = 10_000_000 if self.task.remat else 100_000_000
        calls = 999_000_000 + image * self.task.batch_size
        return Memory(400_000_000, calls, calls)

    def matmul_flops(self):
        return 4e11 if self.module == TIMM else 1e12

    def stop(self):
        self.stopped = True
