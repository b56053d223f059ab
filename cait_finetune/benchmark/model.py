"""Speed and memory of the model, with timm's: ``benchmark model`` on a CPU, ``benchmark gpu`` on a GPU."""

from __future__ import annotations

import dataclasses
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import product
from typing import Any

from rich.console import Console

from cait_finetune.benchmark.comparison import OURS_JAX, OURS_TENSORFLOW, compare
from cait_finetune.benchmark.tables import Report, comparison_text, footnote, machine, packages
from cait_finetune.benchmark.task import (
    PRECISIONS,
    Task,
    check_choices,
    check_models,
    check_values,
    remat_choices,
)
from cait_finetune.errors import bad_value
from cait_finetune.runtime.cores import core_count, cores


@dataclass
class _ModelKeys:
    """The keys that the CPU and the GPU share."""

    models: list[str] = field(
        default_factory=lambda: ["cait_xxs24_224", "cait_s24_224", "cait_xxs24_384"]
    )
    work: list[str] = field(default_factory=lambda: ["inference", "training"])
    precisions: list[str] = field(default_factory=lambda: [PRECISIONS[1]])
    image_size: int | None = None
    remat: list[bool] = field(default_factory=lambda: [False])
    warmup: int = 2
    repetitions: int = 10
    rounds: int = 5
    timm: bool = True

    def check_works(self, *works: str) -> None:
        """Check the shared keys; raise UserError."""
        check_values(self)
        check_choices("work", self.work, works)
        check_choices("precisions", self.precisions, PRECISIONS)
        check_models(self.models, self.image_size, timm=self.timm)

    def measure(self, ours: str, note: str, machine: dict[str, Any], console: Console) -> Report:
        """Measure all rows."""
        comparison = compare(list(self.tasks()), ours, self, console)
        values = {"machine": machine, **dataclasses.asdict(comparison)}
        return Report(comparison_text(comparison, note), values)


@dataclass
class ModelBenchmark(_ModelKeys):
    """The keys of the command, for each of `models` × `work` × `precisions` on the CPU.

    `work` is inference, training and latency: one image, float32, from an exported SavedModel, as it
    loads and with one thread for each operation.
    Each library makes `rounds` measurements, in turn, of `repetitions` calls after `warmup` calls.
    `threads` 0 is all cores, `image_size` null each model's own. Training is measured for each of
    `remat`: true is ``model.remat``, and gradient checkpointing in timm.
    """

    models: list[str] = field(default_factory=lambda: ["cait_xxs24_224", "cait_s24_224"])
    work: list[str] = field(default_factory=lambda: ["inference", "training", "latency"])
    precisions: list[str] = field(default_factory=lambda: list(PRECISIONS))
    warmup: int = 1
    repetitions: int = 4
    latency_repetitions: int = 40
    batch_size: int = 16
    threads: int = 2
    out: str = "benchmark_model"

    def check(self) -> None:
        """Check every key before a process starts; raise UserError."""
        self.check_works("inference", "training", "latency")
        core_count(self.threads)

    def report(self, console: Console) -> Report:
        """Measure all rows; raise UserError if the system ended a process."""
        note = footnote(core_count(self.threads), self.timm)
        return self.measure(OURS_TENSORFLOW, note, machine(self.timm), console)

    def tasks(self) -> Iterator[Task]:
        """Yield the rows. Latency has one image, in the precision of an export."""
        threads = core_count(self.threads)
        for model, work in product(self.models, self.work):
            if work == "latency":
                yield Task(work, model, PRECISIONS[0], 1, threads, self.latency_repetitions,
                           self.image_size)  # fmt: skip
                continue
            for precision, remat in product(self.precisions, remat_choices(work, self.remat)):
                yield Task(work, model, precision, self.batch_size, threads, self.repetitions,
                           self.image_size, remat)  # fmt: skip


@dataclass
class GpuBenchmark(_ModelKeys):
    """The keys of the command, for each of `models` × `work` × `precisions` on one NVIDIA GPU.

    Ours is `cait_tf` under Keras' JAX backend, where a step is one XLA program; a run trains in
    TensorFlow. `batch_sizes` has one batch size for each model. Each library makes `rounds`
    measurements, in turn, of `repetitions` calls after `warmup` calls; the processes share the GPU.
    `image_size` null is each model's own. Training is measured for each of `remat`: true is
    ``model.remat``, and gradient checkpointing in timm.
    """

    batch_sizes: list[int] = field(default_factory=lambda: [256, 128, 64])
    out: str = "benchmark_gpu"

    def check(self) -> None:
        """Check every key, JAX and the GPU before a process starts; raise UserError."""
        self.check_works("inference", "training")
        if len(self.batch_sizes) != len(self.models):
            raise bad_value("batch_sizes", self.batch_sizes,
                            f"one for each of the {len(self.models)} models")  # fmt: skip
        if not find_spec("jax"):
            raise bad_value("jax", "nothing", "jax", "Install it with pip install 'jax[cuda13]'.")
        gpu_name()

    def report(self, console: Console) -> Report:
        """Measure all rows; raise UserError if a library sees no GPU or the system ended a process."""
        facts = {"gpu": gpu_name(), **machine(self.timm, ours=("jax", "keras"))}
        note = f"Ours under Keras' JAX backend. One {facts['gpu']}; {packages(facts)}.\n"
        return self.measure(OURS_JAX, note, facts, console)

    def tasks(self) -> Iterator[Task]:
        """Yield the rows."""
        batches = zip(self.models, self.batch_sizes, strict=True)
        for (model, size), work in product(batches, self.work):
            for precision, remat in product(self.precisions, remat_choices(work, self.remat)):
                yield Task(work, model, precision, size, len(cores()), self.repetitions,
                           self.image_size, remat, device="gpu")  # fmt: skip


def gpu_name() -> str:
    """Return the name of the first GPU; raise UserError if the driver shows none."""
    words = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        shown = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        shown = ""
    if not shown.strip():
        raise bad_value("nvidia-smi", "no GPU", "at least one",
                        "Run benchmark model to measure a CPU.")  # fmt: skip
    return shown.splitlines()[0].strip()
