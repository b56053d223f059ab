"""Keys of the training loop, weight averages, checkpoints, devices and debugging."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from cait_finetune.config.checks import on_disk, one_length, one_of, within
from cait_finetune.errors import bad_value


@dataclass
class TrainConfig:
    """The training loop. Its length is one of `epochs`, `steps` and `examples`.

    After each epoch the run validates and saves. `steps_per_epoch` is the number of steps of an
    epoch. `null`: as many as cover all training images.

    `accumulation` is the number of equal micro-batches of a step's batch. An accelerator computes
    micro-batches one after the other, and a CPU as many in parallel as it has cores. `null`: 1 on
    an accelerator or with `jit_compile`; on a CPU, as many as leave each micro-batch at least two
    224-pixel images (four in half precision). A micro-batch of larger images may hold one image.

    After `max_skipped_steps` steps in a row without a finite gradient, the run stops. `patience` is
    the number of epochs without a better validation after which the run stops, and `max_hours` is
    the longest training time; `null`: no limit. `compile_cache_dir` keeps the code compiled for a
    CPU for the next run; `null`: nothing is kept.
    """

    epochs: int | None = None
    steps: int | None = None
    examples: int | None = None
    steps_per_epoch: int | None = None
    batch_size: int = MISSING
    eval_batch_size: int = MISSING
    precision: str = MISSING
    label_smoothing: float = MISSING
    clip_norm: float = MISSING
    log_every: int = MISSING
    jit_compile: bool = MISSING
    accumulation: int | None = None
    steps_per_execution: int = MISSING
    max_skipped_steps: int = MISSING
    patience: int | None = None
    max_hours: float | None = None
    compile_cache_dir: str | None = "~/.cache/cait_finetune/compiled"

    def __post_init__(self) -> None:
        for key in one_length("train", vars(self)):
            within(f"train.{key}", getattr(self, key), 1)
        if self.steps_per_epoch is not None:
            within("train.steps_per_epoch", self.steps_per_epoch, 1)
        on_disk("train.compile_cache_dir", self.compile_cache_dir)
        within("train.batch_size", self.batch_size, 1)
        within("train.eval_batch_size", self.eval_batch_size, 1)
        one_of("train.precision", self.precision, ("float32", "mixed_bfloat16", "mixed_float16"))
        within("train.label_smoothing", self.label_smoothing, 0, 1, open_high=True)
        within("train.clip_norm", self.clip_norm, 0)
        within("train.log_every", self.log_every, 1)
        if self.accumulation is not None:
            within("train.accumulation", self.accumulation, 1)
        if self.accumulation and self.batch_size % self.accumulation:
            parts = [n for n in range(1, self.batch_size + 1) if self.batch_size % n == 0]
            wanted = self.accumulation
            nearest = min(parts, key=lambda n: abs(n - wanted))
            raise bad_value(
                "train.accumulation",
                self.accumulation,
                f"a divisor of train.batch_size={self.batch_size}, for instance {nearest}",
            )
        within("train.steps_per_execution", self.steps_per_execution, 1)
        within("train.max_skipped_steps", self.max_skipped_steps, 1)
        if self.patience is not None:
            within("train.patience", self.patience, 1)
        if self.max_hours is not None:
            within("train.max_hours", self.max_hours, 1e-6)


@dataclass
class AverageConfig:
    """Averaged weights: an exponential moving average (`ema`), or the mean over epochs (`swa`).

    With `warmup` the EMA's decay is at most ``(1 + t) / (10 + t)`` after t steps. SWA averages the
    weights at the ends of the last `swa_epochs` epochs. Both the trained and the averaged weights
    are evaluated. With `export`, the averaged weights decide the best epoch, and are tested and
    exported; otherwise the trained weights are. Keys of a method other than `method` are null.
    """

    method: str = MISSING
    decay: float | None = None
    warmup: bool | None = None
    swa_epochs: int | None = None
    export: bool = True

    def __post_init__(self) -> None:
        one_of("average.method", self.method, ("none", "ema", "swa"))
        within("average.decay", self.decay, 0, 1, open_high=True)
        within("average.swa_epochs", self.swa_epochs, 1)


@dataclass
class CheckpointConfig:
    """When a run writes its state, besides at each epoch's end, and how many states it keeps.

    `every_steps` null: only at each epoch's end. `keep` is the number of latest states to keep.
    """

    every_steps: int | None = None
    keep: int = MISSING

    def __post_init__(self) -> None:
        if self.every_steps is not None:
            within("checkpoint.every_steps", self.every_steps, 1)
        within("checkpoint.keep", self.keep, 1)


@dataclass
class DistributionConfig:
    """The devices of the step: one device, all devices of this machine, several machines, or a TPU.

    `devices` null: all GPUs. Without GPUs, `devices` is the number of logical CPU devices.
    `cluster` is the source of the workers' addresses with `multi_worker`. `null`: SLURM inside a
    SLURM step without TF_CONFIG, else TF_CONFIG. The workers wait at most `timeout` seconds for
    each other.
    """

    strategy: str = MISSING
    devices: int | None = None
    cluster: str | None = None
    port: int = 12355
    timeout: float = 300.0
    tpu: str | None = None

    def __post_init__(self) -> None:
        one_of(
            "distribution.strategy",
            self.strategy,
            ("auto", "cpu", "gpu", "mirrored", "multi_worker", "tpu"),
        )
        if self.devices is not None:
            within("distribution.devices", self.devices, 1)
        if self.cluster is not None:
            one_of("distribution.cluster", self.cluster, ("tf_config", "slurm"))
        within("distribution.port", self.port, 1, 65535)
        within("distribution.timeout", self.timeout, 1)


@dataclass
class DebugConfig:
    """A debug run: overfit one batch, make a very short run, or profile some steps.

    ``fast_dev_run`` makes two steps, or one per stage of ``gradual``, and two validation batches.
    """

    mode: str = MISSING

    def __post_init__(self) -> None:
        one_of("debug.mode", self.mode, ("none", "overfit_batch", "fast_dev_run", "profile"))
