"""``benchmark model`` and ``benchmark gpu``: speed and memory of our model and timm's."""

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
from cait_finetune.config.image_size import parse_image_size
from cait_finetune.errors import bad_value
from cait_finetune.runtime.cores import core_count, cores
from cait_tf.arguments import image_shape


@dataclass
class _ModelKeys:
    """The keys that the CPU and the GPU benchmark share."""

    models: list[str] = field(
        default_factory=lambda: ["cait_xxs24_224", "cait_s24_224", "cait_xxs24_384"]
    )
    work: list[str] = field(default_factory=lambda: ["inference", "training"])
    precisions: list[str] = field(default_factory=lambda: [PRECISIONS[1]])
    image_size: Any = None
    remat: list[bool] = field(default_factory=lambda: [False])
    warmup: int = 2
    repetitions: int = 10
    rounds: int = 5
    timm: bool = True

    def __post_init__(self) -> None:
        self.image_size = parse_image_size("image_size", self.image_size)

    @property
    def size(self) -> tuple[int, int] | None:
        """Height and width of the images. `None`: each model's own."""
        return None if self.image_size is None else image_shape(self.image_size)

    def check_works(self, *works: str) -> None:
        """Check the shared keys, with `works` allowed as `work`; raise UserError if one is wrong."""
        check_values(self)
        check_choices("work", self.work, works)
        check_choices("precisions", self.precisions, PRECISIONS)
        check_models(self.models, self.image_size, timm=self.timm)

    def measure(self, ours: str, note: str, machine: dict[str, Any], console: Console) -> Report:
        """Measure all rows and return the tables.

        Args:
            ours: module of our worker.
            note: the line below the tables.
            machine: facts for the JSON file.
        """
        comparison = compare(list(self.tasks()), ours, self, console)
        values = {"machine": machine, **dataclasses.asdict(comparison)}
        return Report(comparison_text(comparison, note), values)


@dataclass
class ModelBenchmark(_ModelKeys):
    """The keys of the command. It measures each of `models` × `work` × `precisions` on the CPU.

    `work` lists inference, training and latency. Latency classifies one image in float32 with an
    exported SavedModel: once with TensorFlow's default threads, and once with one thread per operation.
    The libraries take turns for `rounds` rounds: each makes `warmup` calls, then times `repetitions`
    calls. `latency_repetitions` replaces `repetitions` for latency. `threads` 0 uses all cores.
    `image_size` is one side or [height,width]; null uses each model's own size. Training is measured for each value of `remat`: true
    sets ``model.remat`` for our model, and gradient checkpointing for timm's. `whole` trains each batch
    in one micro-batch, as an accelerator does. Several `batch_sizes` give a table of the largest
    training batch that fits into 8 to 80 GB.
    """

    models: list[str] = field(default_factory=lambda: ["cait_xxs24_224", "cait_s24_224"])
    work: list[str] = field(default_factory=lambda: ["inference", "training", "latency"])
    precisions: list[str] = field(default_factory=lambda: list(PRECISIONS))
    warmup: int = 1
    repetitions: int = 4
    latency_repetitions: int = 40
    batch_sizes: list[int] = field(default_factory=lambda: [16])
    whole: bool = False
    threads: int = 2
    out: str = "benchmark_model"

    def check(self) -> None:
        """Check every key before a process starts; raise UserError if one is wrong."""
        self.check_works("inference", "training", "latency")
        core_count(self.threads)

    def report(self, console: Console) -> Report:
        """Measure all rows. If the system ends a task's process, a note replaces its row."""
        note = footnote(core_count(self.threads), self.timm)
        return self.measure(OURS_TENSORFLOW, note, machine(self.timm), console)

    def tasks(self) -> Iterator[Task]:
        """Yield a task for each row. Latency uses one image and float32, the precision of exports."""
        threads = core_count(self.threads)
        for model, work in product(self.models, self.work):
            if work == "latency":
                yield Task(work, model, PRECISIONS[0], 1, threads, self.latency_repetitions,
                           self.size)  # fmt: skip
                continue
            sizes = sorted(set(self.batch_sizes))
            for precision, remat, size in product(
                self.precisions, remat_choices(work, self.remat), sizes
            ):
                yield Task(work, model, precision, size, threads, self.repetitions,
                           self.size, remat, self.whole)  # fmt: skip


@dataclass
class GpuBenchmark(_ModelKeys):
    """The keys of the command. It measures each of `models` × `work` × `precisions` on one NVIDIA GPU.

    Our model is `cait_tf` on Keras' JAX backend, where a step is one XLA program. `cait-finetune train` uses the
    TensorFlow backend, which this command does not measure. `batch_sizes` has one batch size for
    each model. The libraries take turns for `rounds` rounds: each makes `warmup` calls, then times
    `repetitions` calls. All worker processes share the GPU. `image_size` is one side or
    [height,width]; null uses each model's own size. Training is measured for each value of `remat`: true sets ``model.remat`` for our
    model, and gradient checkpointing for timm's.
    """

    batch_sizes: list[int] = field(default_factory=lambda: [256, 128, 64])
    out: str = "benchmark_gpu"

    def check(self) -> None:
        """Check the keys, JAX and the GPU before any worker process starts; raise UserError."""
        self.check_works("inference", "training")
        if len(self.batch_sizes) != len(self.models):
            raise bad_value("batch_sizes", self.batch_sizes,
                            f"one for each of the {len(self.models)} models")  # fmt: skip
        if not find_spec("jax"):
            raise bad_value("jax", "nothing", "jax", "Install it with pip install 'jax[cuda13]'.")
        gpu_name()

    def report(self, console: Console) -> Report:
        """Measure all rows, as `ModelBenchmark.report`; raise UserError without a usable GPU."""
        facts = {"gpu": gpu_name(), **machine(self.timm, ours=("jax", "keras"))}
        note = f"Ours under Keras' JAX backend. One {facts['gpu']}; {packages(facts)}.\n"
        return self.measure(OURS_JAX, note, facts, console)

    def tasks(self) -> Iterator[Task]:
        """Yield a task for each row."""
        batches = zip(self.models, self.batch_sizes, strict=True)
        for (model, size), work in product(batches, self.work):
            for precision, remat in product(self.precisions, remat_choices(work, self.remat)):
                yield Task(work, model, precision, size, len(cores()), self.repetitions,
                           self.size, remat, device="gpu")  # fmt: skip


def gpu_name() -> str:
    """Return the name of the first GPU; raise UserError if nvidia-smi lists none."""
    words = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        shown = subprocess.run(words, capture_output=True, text=True, check=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        shown = ""
    if not shown.strip():
        raise bad_value("nvidia-smi", "no GPU", "at least one",
                        "To measure a CPU write cait-finetune benchmark model.")  # fmt: skip
    return shown.splitlines()[0].strip()
