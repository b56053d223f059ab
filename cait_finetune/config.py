"""The configuration: every key, its type and its range. Defaults stand in ``conf/``.

Hydra validates names and types against these classes (`register`); ranges are checked in their
``__post_init__``, which runs when `from_hydra` turns the composed configuration into objects.
"""

from __future__ import annotations

import dataclasses
import math
import re
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from cait_finetune.errors import bad_value, suggest


def _within(
    key: str, value: float, low: float, high: float = math.inf, *, open_high: bool = False
) -> None:
    above = value >= high if open_high else value > high
    if not (math.isfinite(value) and low <= value) or above:
        bracket = ")" if open_high or high == math.inf else "]"
        raise bad_value(key, value, f"a number in [{low:g}, {high:g}{bracket}")


def _one_of(key: str, value: str, options: tuple[str, ...]) -> None:
    if value not in options:
        raise bad_value(key, repr(value), f"one of {', '.join(options)}", suggest(value, options))


@dataclass
class SplitsConfig:
    """TFDS split expressions; null follows what the set has."""

    train: str | None = None
    validation: str | None = None
    test: str | None = None


@dataclass
class DatasetConfig:
    """Which images, and how they are read. `cache` keeps training and validation images in memory."""

    source: str = "tfds"
    name: str = MISSING
    data_dir: str | None = None
    splits: SplitsConfig = field(default_factory=SplitsConfig)
    num_classes: int | None = None
    allow_flip: bool = True
    on_corrupt: str = "stop"
    shuffle_buffer: int = 4096
    cache: bool = False

    def __post_init__(self) -> None:
        _one_of("dataset.source", self.source, ("tfds", "digits", "imagenet_folder"))
        _one_of("dataset.on_corrupt", self.on_corrupt, ("stop", "skip"))
        _within("dataset.shuffle_buffer", self.shuffle_buffer, 1)
        if self.num_classes is not None:
            _within("dataset.num_classes", self.num_classes, 2)


@dataclass
class ModelConfig:
    """Which backbone, from which weights. `image_size` null is the variant's own.

    `remat` computes each block again in the backward pass instead of keeping what it holds.
    """

    name: str = MISSING
    weights: str = "hub"
    image_size: int | None = None
    drop_path_rate: float = 0.0
    drop_rate: float = 0.0
    attn_drop_rate: float = 0.0
    remat: bool = False

    def __post_init__(self) -> None:
        for rate in ("drop_path_rate", "drop_rate", "attn_drop_rate"):
            _within(f"model.{rate}", getattr(self, rate), 0, 1, open_high=True)
        if self.image_size is not None:
            _within("model.image_size", self.image_size, 1)


#: The keys that each tuning method reads.
_TUNING_KEYS = {
    "full": (),
    "linear_probe": ("solver", "cache_features", "cache_dir"),
    "head_then_full": ("head_epochs",),
    "gradual": ("stages", "stage_epochs"),
    "lora": ("rank", "alpha", "targets"),
    "pattern": ("pattern", "train_head"),
}
_TUNING_NULL_IS_A_VALUE = ("cache_dir", "alpha")


@dataclass
class TuningConfig:
    """Which parameters are trained, and when. A key of another method than `method` must be null.

    `head_epochs` and `stage_epochs` are how long each phase before the last takes; `alpha` null is
    `rank`; `targets` and `pattern` are regular expressions, searched in the paths of layers and of
    variables; `cache_dir` null keeps no features on disk.
    """

    method: str = MISSING
    solver: str | None = None
    cache_features: bool | None = None
    cache_dir: str | None = None
    head_epochs: int | None = None
    stages: int | None = None
    stage_epochs: int | None = None
    rank: int | None = None
    alpha: float | None = None
    targets: str | None = None
    pattern: str | None = None
    train_head: bool | None = None

    def __post_init__(self) -> None:
        _one_of("tuning.method", self.method, tuple(_TUNING_KEYS))
        if self.solver is not None:
            _one_of("tuning.solver", self.solver, ("sgd", "lbfgs"))
        for key, least in (("head_epochs", 1), ("stages", 2), ("stage_epochs", 1), ("rank", 1)):
            if getattr(self, key) is not None:
                _within(f"tuning.{key}", getattr(self, key), least)
        if self.alpha is not None and not 0 < self.alpha < math.inf:
            raise bad_value("tuning.alpha", self.alpha, "a number above 0, or null for the rank")
        for key in ("targets", "pattern"):
            _regular_expression(f"tuning.{key}", getattr(self, key))
        self._check_keys()
        if self.solver == "lbfgs" and not self.cache_features:
            raise bad_value(
                "tuning.solver",
                "lbfgs with tuning.cache_features=false",
                "sgd there: L-BFGS needs all features at once",
            )

    def _check_keys(self) -> None:
        """Each key of the method has a value, and no other method's has: it would do nothing."""
        for method, keys in _TUNING_KEYS.items():
            for key in keys:
                value = getattr(self, key)
                if method != self.method and value is not None:
                    raise bad_value(
                        f"tuning.{key}",
                        repr(value),
                        f"null with tuning.method={self.method}: it is a key of {method}",
                        f"choose tuning={method}",
                    )
                if method == self.method and value is None and key not in _TUNING_NULL_IS_A_VALUE:
                    raise bad_value(
                        f"tuning.{key}",
                        "nothing",
                        f"a value with tuning.method={method}",
                        f"add tuning.{key}=…"
                        if key == "pattern"
                        else f"choose tuning={method}, which brings one",
                    )


def _regular_expression(key: str, value: str | None) -> None:
    try:
        re.compile(value or "")
    except re.error as error:
        raise bad_value(key, repr(value), f"a regular expression ({error})") from error
    if value == "":
        raise bad_value(key, "nothing", "a regular expression; '.' is every path")


@dataclass
class AugmentConfig:
    """Random resized crop (share of the area, width/height), mirroring, mixing of two images.

    A share above 1 zooms out: the image gets a black border. `mixup` and `cutmix` are the alphas of
    the two methods, 0 for none; a pair of images is mixed with `mix_probability`, and where both
    methods are on, by CutMix with `mix_switch_probability`.
    """

    crop_scale: list[float] = MISSING
    crop_ratio: list[float] = MISSING
    flip: float = MISSING
    mixup: float = 0.0
    cutmix: float = 0.0
    mix_probability: float = 1.0
    mix_switch_probability: float = 0.5

    def __post_init__(self) -> None:
        for key in ("flip", "mix_probability", "mix_switch_probability"):
            _within(f"augment.{key}", getattr(self, key), 0, 1)
        for key in ("mixup", "cutmix"):
            _within(f"augment.{key}", getattr(self, key), 0, 100)
        for key, highest in (("crop_scale", 4.0), ("crop_ratio", math.inf)):
            value = getattr(self, key)
            ordered = len(value) == 2 and 0 < value[0] <= value[1] <= highest
            if not ordered:
                bound = f" ≤ {highest:g}" if math.isfinite(highest) else ""
                raise bad_value(
                    f"augment.{key}", list(value), f"[low, high], 0 < low ≤ high{bound}"
                )


@dataclass
class OptimizerConfig:
    """The rule of an update, with layer-wise learning-rate decay.

    `base_lr` is the learning rate of the head at its peak: as it is, or with `lr_batch_size` for
    batches of that size, and scaled linearly to `train.batch_size`.
    """

    name: str = MISSING
    base_lr: float = MISSING
    weight_decay: float = MISSING
    layer_decay: float = MISSING
    lr_batch_size: int | None = None
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    momentum: float = 0.9
    nesterov: bool = False

    def __post_init__(self) -> None:
        _one_of("optimizer.name", self.name, ("adamw", "sgd", "lamb", "lion", "schedule_free"))
        _within("optimizer.base_lr", self.base_lr, 0, 10)
        _within("optimizer.weight_decay", self.weight_decay, 0, 1)
        _within("optimizer.layer_decay", self.layer_decay, 0.01, 1)
        if self.lr_batch_size is not None:
            _within("optimizer.lr_batch_size", self.lr_batch_size, 1)
        # Schedule-free divides by it.
        least = 0.01 if self.name == "schedule_free" else 0
        _within("optimizer.beta_1", self.beta_1, least, 1, open_high=True)
        _within("optimizer.beta_2", self.beta_2, 0, 1, open_high=True)
        _within("optimizer.epsilon", self.epsilon, 1e-16, 1)
        _within("optimizer.momentum", self.momentum, 0, 1, open_high=True)


@dataclass
class ScheduleConfig:
    """Linear warm-up from `warmup_lr`, then down to `min_lr` in the way of `name`.

    The warm-up's length is one of three keys, the others being null. `step_epochs` is for ``step``,
    `factor` for that and ``ramp_decay``.
    """

    name: str = MISSING
    warmup_epochs: float | None = None
    warmup_steps: int | None = None
    warmup_examples: int | None = None
    warmup_lr: float = MISSING
    min_lr: float = MISSING
    step_epochs: float = 30.0
    factor: float = 0.1

    def __post_init__(self) -> None:
        names = ("cosine", "linear", "step", "constant", "ramp_decay")
        _one_of("schedule.name", self.name, names)
        for key in _one_length("schedule.warmup", vars(self), "warmup_"):
            _within(f"schedule.{key}", getattr(self, key), 0)
        _within("schedule.warmup_lr", self.warmup_lr, 0, 10)
        _within("schedule.min_lr", self.min_lr, 0, 10)
        _within("schedule.step_epochs", self.step_epochs, 0.001)
        _within("schedule.factor", self.factor, 0, 1)


def _one_length(what: str, values: dict[str, Any], prefix: str = "") -> list[str]:
    """The key of the one length that is given, of epochs, steps and examples.

    Raises:
        UserError: none or several are.
    """
    keys = [f"{prefix}{unit}" for unit in ("epochs", "steps", "examples")]
    given = [key for key in keys if values[key] is not None]
    if len(given) != 1:
        group = what.partition(".")[0]
        shown = " beside ".join(f"{group}.{key}={values[key]}" for key in given)
        raise bad_value(
            f"{group}.{given[-1] if given else keys[0]}",
            shown or "nothing",
            f"one of {', '.join(keys)}",
            f"add {group}.{given[0]}=null" if given else "",
        )
    return given


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
        _one_of(
            "distribution.strategy",
            self.strategy,
            ("auto", "cpu", "gpu", "mirrored", "multi_worker", "tpu"),
        )
        if self.devices is not None:
            _within("distribution.devices", self.devices, 1)
        if self.cluster is not None:
            _one_of("distribution.cluster", self.cluster, ("tf_config", "slurm"))
        _within("distribution.port", self.port, 1, 65535)
        _within("distribution.timeout", self.timeout, 1)


@dataclass
class AverageConfig:
    """Averaged weights: an exponential moving average (`ema`), or the mean over epochs (`swa`).

    With `warmup` the EMA's decay is at most ``(1 + t) / (10 + t)`` after t steps. SWA averages the
    weights at the end of each of the last `swa_epochs`. Both the trained and the averaged weights
    are evaluated; `export` says which of them decide the best epoch, are tested and exported.
    """

    method: str = MISSING
    decay: float = 0.9998
    warmup: bool = True
    swa_epochs: int = 5
    export: bool = True

    def __post_init__(self) -> None:
        _one_of("average.method", self.method, ("none", "ema", "swa"))
        _within("average.decay", self.decay, 0, 1, open_high=True)
        _within("average.swa_epochs", self.swa_epochs, 1)


@dataclass
class CheckpointConfig:
    """When the whole state is written besides each epoch's end, and how many of the last are kept."""

    every_steps: int | None = None
    keep: int = MISSING

    def __post_init__(self) -> None:
        if self.every_steps is not None:
            _within("checkpoint.every_steps", self.every_steps, 1)
        _within("checkpoint.keep", self.keep, 1)


@dataclass
class DebugConfig:
    """A run that looks for a mistake: one batch learned by heart, two steps of all, or a profile."""

    mode: str = MISSING

    def __post_init__(self) -> None:
        _one_of("debug.mode", self.mode, ("none", "overfit_batch", "fast_dev_run", "profile"))


@dataclass
class ExportConfig:
    """Whether a SavedModel is written, and on how many validation images it is checked."""

    enabled: bool = MISSING
    check_images: int = MISSING

    def __post_init__(self) -> None:
        _within("export.check_images", self.check_images, 1)


@dataclass
class TrainConfig:
    """The loop, which is as long as one of `epochs`, `steps` and `examples` says.

    A step's batch is worked off in `accumulation` equal parts, one after the other. After
    `max_skipped_steps` steps in a row without a finite gradient the run stops. `patience` is how
    many epochs may pass without a better validation, `max_hours` how long training may take; null is
    no limit.
    """

    epochs: int | None = None
    steps: int | None = None
    examples: int | None = None
    batch_size: int = MISSING
    eval_batch_size: int = MISSING
    precision: str = MISSING
    label_smoothing: float = MISSING
    clip_norm: float = MISSING
    log_every: int = MISSING
    jit_compile: bool = MISSING
    accumulation: int = MISSING
    steps_per_execution: int = MISSING
    max_skipped_steps: int = MISSING
    patience: int | None = None
    max_hours: float | None = None

    def __post_init__(self) -> None:
        for key in _one_length("train", vars(self)):
            _within(f"train.{key}", getattr(self, key), 1)
        _within("train.batch_size", self.batch_size, 1)
        _within("train.eval_batch_size", self.eval_batch_size, 1)
        _one_of("train.precision", self.precision, ("float32", "mixed_bfloat16", "mixed_float16"))
        _within("train.label_smoothing", self.label_smoothing, 0, 1, open_high=True)
        _within("train.clip_norm", self.clip_norm, 0)
        _within("train.log_every", self.log_every, 1)
        _within("train.accumulation", self.accumulation, 1)
        if self.batch_size % self.accumulation:
            parts = [n for n in range(1, self.batch_size + 1) if self.batch_size % n == 0]
            nearest = min(parts, key=lambda n: abs(n - self.accumulation))
            raise bad_value(
                "train.accumulation",
                self.accumulation,
                f"a divisor of train.batch_size={self.batch_size}, for instance {nearest}",
            )
        _within("train.steps_per_execution", self.steps_per_execution, 1)
        _within("train.max_skipped_steps", self.max_skipped_steps, 1)
        if self.patience is not None:
            _within("train.patience", self.patience, 1)
        if self.max_hours is not None:
            _within("train.max_hours", self.max_hours, 1e-6)


@dataclass
class EvaluationConfig:
    """What ``python -m cait_finetune.evaluate`` measures: one row of its table for each crop ratio."""

    split: str = MISSING
    crop_pcts: list[float] = MISSING

    def __post_init__(self) -> None:
        _one_of("evaluation.split", self.split, ("train", "validation", "test"))
        if not self.crop_pcts:
            raise bad_value("evaluation.crop_pcts", "[]", "at least one crop ratio")
        for crop_pct in self.crop_pcts:
            _within("evaluation.crop_pcts", crop_pct, 0.1, 1)


@dataclass
class LrFindConfig:
    """The rates that ``python -m cait_finetune.lr_find`` tries, from `low` to `high` in `steps`."""

    low: float = MISSING
    high: float = MISSING
    steps: int = MISSING
    smoothing: float = MISSING

    def __post_init__(self) -> None:
        _within("lr_find.low", self.low, 1e-12, 10)
        _within("lr_find.high", self.high, 1e-12, 1000)
        if self.low >= self.high:
            raise bad_value("lr_find.low", self.low, f"a number below lr_find.high={self.high:g}")
        _within("lr_find.steps", self.steps, 10)
        _within("lr_find.smoothing", self.smoothing, 0, 1, open_high=True)


@dataclass
class Config:
    """The whole configuration of a run."""

    dataset: DatasetConfig = MISSING
    model: ModelConfig = MISSING
    tuning: TuningConfig = MISSING
    augment: AugmentConfig = MISSING
    optimizer: OptimizerConfig = MISSING
    schedule: ScheduleConfig = MISSING
    distribution: DistributionConfig = MISSING
    export: ExportConfig = MISSING
    train: TrainConfig = MISSING
    average: AverageConfig = MISSING
    checkpoint: CheckpointConfig = MISSING
    debug: DebugConfig = MISSING
    evaluation: EvaluationConfig = MISSING
    lr_find: LrFindConfig = MISSING
    seed: int = MISSING
    deterministic: bool = MISSING
    resume: str | None = None
    traceback: bool = MISSING

    def __post_init__(self) -> None:
        _within("seed", self.seed, 0, 2**31 - 1)
        averaged = self.average.method != "none" and self.optimizer.name == "schedule_free"
        if averaged:
            raise bad_value(
                "average.method",
                self.average.method,
                "none with optimizer=schedule_free, which evaluates an average of its own",
            )


def register() -> None:
    """Make the schema known to Hydra, under the name that ``conf/config.yaml`` lists first."""
    ConfigStore.instance().store(name="schema", node=Config)


def from_hydra(composed: DictConfig) -> Config:
    """The composed configuration as checked objects.

    Raises:
        UserError: a mandatory value is missing, a value is out of range, or a key was added that no
            class has (``+key=value`` passes Hydra's own check).
    """
    for key in sorted(OmegaConf.missing_keys(composed)):
        raise bad_value(key, "nothing", "a value", f"add {key}=… to the command")
    config = OmegaConf.to_object(composed)
    _refuse_other_keys(config, "")
    return config


def _refuse_other_keys(node: Any, prefix: str) -> None:
    names = [item.name for item in dataclasses.fields(node)]
    for name, value in vars(node).items():
        if value == MISSING:  # taken away on the command line, as ~train
            raise bad_value(f"{prefix}{name}", "nothing", "a value", f"leave out ~{prefix}{name}")
        if name not in names:
            raise bad_value(f"{prefix}{name}", repr(value), "a known key", suggest(name, names))
        if dataclasses.is_dataclass(value):
            _refuse_other_keys(value, f"{prefix}{name}.")
