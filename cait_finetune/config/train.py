"""The loop: how long, on what, in which precision, and what is kept of it."""

from __future__ import annotations

from dataclasses import dataclass

from omegaconf import MISSING

from cait_finetune.config.checks import on_disk, one_length, one_of, within
from cait_finetune.errors import bad_value


@dataclass
class TrainConfig:
    """The loop, which is as long as one of `epochs`, `steps` and `examples` says.

    After an epoch is validated and saved. It has `steps_per_epoch` steps, more or fewer than make up
    all images; null is as many as do.
    A step's batch is worked off in `accumulation` equal parts: one after the other, but without an
    accelerator as many at a time as there are cores. Null is one, but there, unless `jit_compile`, the
    most that have two images of 224 pixels each, in half precision four; larger images may go one by
    one. After `max_skipped_steps` steps in a row without a finite gradient the run stops. `patience` is
    how many epochs may pass without a better validation, `max_hours` how long training may take; null is
    no limit. What is compiled for a CPU is kept in `compile_cache_dir` for the next run; null keeps
    nothing.
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
            nearest = min(parts, key=lambda n: abs(n - self.accumulation))
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
    weights at the end of each of the last `swa_epochs`. Both the trained and the averaged weights
    are evaluated; `export` says which of them decide the best epoch, are tested and exported. A key of another method than
    `method` is null.
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
    """When the whole state is written besides each epoch's end, and how many of the last are kept."""

    every_steps: int | None = None
    keep: int = MISSING

    def __post_init__(self) -> None:
        if self.every_steps is not None:
            within("checkpoint.every_steps", self.every_steps, 1)
        within("checkpoint.keep", self.keep, 1)


@dataclass
class DistributionConfig:
    """Where the step runs: one device, all devices of this machine, several machines, or a TPU.

    `devices` null is all GPUs that there are; without GPUs, so many logical CPU devices.
    `cluster` is how the workers of `multi_worker` learn of each other; null is SLURM inside a SLURM
    step that has no TF_CONFIG, else TF_CONFIG. They wait `timeout` seconds for each other.
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
    """A run that looks for a mistake: one batch learned by heart, two steps of all, or a profile."""

    mode: str = MISSING

    def __post_init__(self) -> None:
        one_of("debug.mode", self.mode, ("none", "overfit_batch", "fast_dev_run", "profile"))
