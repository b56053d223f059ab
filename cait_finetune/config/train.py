"""Keys of the training loop, weight averages, checkpoints, devices and debugging."""

from __future__ import annotations

from dataclasses import dataclass

from cait_finetune.config.checks import on_disk, one_length
from cait_finetune.config.keys import check_keys, key
from cait_finetune.errors import bad_value


@dataclass
class TrainConfig:
    """The training loop. One of `epochs`, `steps` and `examples` sets its length.

    After each epoch the run validates and saves.
    """

    epochs: int | None = key("Length of training in epochs.", None, low=1)
    steps: int | None = key("Length of training in steps.", None, low=1)
    examples: int | None = key("Length of training in images.", None, low=1)
    steps_per_epoch: int | None = key(
        "Steps in an epoch. null: as many as cover all training images.", None, low=1
    )
    batch_size: int = key("Images in a training step, on all devices together.", low=1)
    eval_batch_size: int = key("Images in a batch of validation and test.", low=1)
    precision: str = key("Precision of the activations. Weights are float32.",
                         choices=("float32", "mixed_bfloat16", "mixed_float16"))  # fmt: skip
    label_smoothing: float = key("Share of each target that is spread evenly over all classes.",
                                 low=0, high=1, open_high=True)  # fmt: skip
    clip_norm: float = key("Largest norm of the global gradient. 0: no clipping.", low=0)
    log_every: int = key("Steps between two lines of `metrics.jsonl`.", low=1)
    jit_compile: bool = key("Compile the training step with XLA.")
    accumulation: int | None = key(
        "Number of equal micro-batches in a step: an accelerator computes them one after the other, a CPU "
        "in parallel. null: 1 on an accelerator or with `jit_compile`; on a CPU, micro-batches of at least "
        "two 224-pixel images (four in half precision).", None, low=1,
    )  # fmt: skip
    steps_per_execution: int = key("Training steps in one call of the compiled function.", low=1)
    max_skipped_steps: int = key(
        "The run stops after this many steps in a row whose gradient is not finite.", low=1
    )
    patience: int | None = key(
        "The run stops after this many epochs without a better validation metric. null: no limit.",
        None,
        low=1,
    )
    max_hours: float | None = key("Longest training time in hours. null: no limit.", None, low=1e-6)
    compile_cache_dir: str | None = key(
        "Folder that keeps compiled CPU code for later runs. null: it is not kept.",
        "~/.cache/cait_finetune/compiled",
    )

    def __post_init__(self) -> None:
        check_keys(self, "train")
        one_length("train", vars(self))
        on_disk("train.compile_cache_dir", self.compile_cache_dir)
        if self.accumulation and self.batch_size % self.accumulation:
            parts = [n for n in range(1, self.batch_size + 1) if self.batch_size % n == 0]
            wanted = self.accumulation
            nearest = min(parts, key=lambda n: abs(n - wanted))
            raise bad_value(
                "train.accumulation",
                self.accumulation,
                f"a divisor of train.batch_size={self.batch_size}, for instance {nearest}",
            )


@dataclass
class AverageConfig:
    """Averaged weights beside the trained weights. Both are validated."""

    method: str = key("ema: exponential moving average. swa: mean of the weights after the last epochs.",
                      choices=("none", "ema", "swa"))  # fmt: skip
    decay: float | None = key("Decay of the moving average per step.", None,
                              low=0, high=1, open_high=True)  # fmt: skip
    warmup: bool | None = key("Limit the decay to (1 + t) / (10 + t) after t steps.", None)
    swa_epochs: int | None = key("Number of last epochs to average.", None, low=1)
    export: bool = key(
        "true: the averaged weights choose the best epoch, and are tested and exported. false: the "
        "trained weights.", True,
    )  # fmt: skip

    def __post_init__(self) -> None:
        check_keys(self, "average")


@dataclass
class CheckpointConfig:
    """When a run writes the state from which it resumes."""

    every_steps: int | None = key(
        "Save a state after this many steps, too. null: only after each epoch.", None, low=1
    )
    keep: int = key("Number of latest states to keep. The best weights are always kept.", low=1)

    def __post_init__(self) -> None:
        check_keys(self, "checkpoint")


@dataclass
class DistributionConfig:
    """The devices of the step: one device, all devices of this machine, several machines, or a TPU."""

    strategy: str = key("Strategy of `tf.distribute`. auto: all GPUs, or the CPU without GPUs.",
                        choices=("auto", "cpu", "gpu", "mirrored", "multi_worker", "tpu"))  # fmt: skip
    devices: int | None = key(
        "Number of GPUs, or of logical CPU devices. null: all GPUs.", None, low=1
    )
    cluster: str | None = key(
        "Source of the workers' addresses. null: TF_CONFIG if it is set, otherwise SLURM inside a SLURM "
        "step.", None, choices=("tf_config", "slurm"),
    )  # fmt: skip
    port: int = key("Port of the workers on a SLURM cluster.", 12355, low=1, high=65535)
    timeout: float = key("Seconds that the workers wait for each other.", 300.0, low=1)
    tpu: str | None = key("Name or address of the TPU. null: the local TPU.", None)

    def __post_init__(self) -> None:
        check_keys(self, "distribution")


@dataclass
class DebugConfig:
    """A debug run."""

    mode: str = key(
        "overfit_batch: train on one batch. fast_dev_run: two steps (one for each stage of gradual) "
        "and two validation batches. profile: record a trace of some steps.",
        choices=("none", "overfit_batch", "fast_dev_run", "profile"),
    )

    def __post_init__(self) -> None:
        check_keys(self, "debug")
