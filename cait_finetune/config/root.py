"""The whole configuration, and its conversion from the configuration that Hydra composes."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from cait_finetune.config.augment import AugmentConfig
from cait_finetune.config.channels import check_channels
from cait_finetune.config.data import DatasetConfig
from cait_finetune.config.effect import check_effect, reset_without_effect
from cait_finetune.config.head import HeadConfig
from cait_finetune.config.keys import check_keys, key
from cait_finetune.config.logger import LoggerConfig
from cait_finetune.config.loss import LossConfig
from cait_finetune.config.model import ModelConfig, TuningConfig
from cait_finetune.config.optim import OptimizerConfig, ScheduleConfig
from cait_finetune.config.places import data_folder
from cait_finetune.config.preprocessing import PreprocessingConfig, check_statistics
from cait_finetune.config.results import EvaluationConfig, ExportConfig, LrFindConfig
from cait_finetune.config.settled import settled
from cait_finetune.config.task import TaskConfig
from cait_finetune.config.train import (
    AverageConfig,
    CheckpointConfig,
    DebugConfig,
    DistributionConfig,
    TrainConfig,
)
from cait_finetune.errors import bad_value, suggest


@dataclass
class Config:
    """The whole configuration of a run."""

    task: TaskConfig = field(default_factory=TaskConfig)
    dataset: DatasetConfig = MISSING
    model: ModelConfig = MISSING
    tuning: TuningConfig = MISSING
    head: HeadConfig = field(default_factory=HeadConfig)
    preprocessing: PreprocessingConfig = field(default_factory=PreprocessingConfig)
    augment: AugmentConfig = MISSING
    loss: LossConfig = MISSING
    optimizer: OptimizerConfig = MISSING
    schedule: ScheduleConfig = MISSING
    distribution: DistributionConfig = MISSING
    logger: LoggerConfig = field(default_factory=LoggerConfig)
    export: ExportConfig = MISSING
    train: TrainConfig = MISSING
    average: AverageConfig = MISSING
    checkpoint: CheckpointConfig = MISSING
    debug: DebugConfig = MISSING
    evaluation: EvaluationConfig = MISSING
    lr_find: LrFindConfig = MISSING
    seed: int = key("Seed of the run's random numbers.", low=0, high=2**31 - 1)
    deterministic: bool = key(
        "true: a repeated run gives the same bits on a GPU, too, but is slower."
    )
    resume: str | None = key("Directory of a run to resume. null: a new run.", None)
    continue_from: str | None = key(
        "Directory of a finished run to train for longer: a new run begins with its settings and best "
        "weights. null: no such run.", None,
    )  # fmt: skip
    traceback: bool = key("Show the traceback of an error.")

    def __post_init__(self) -> None:
        check_keys(self, "")
        check_effect(self)
        self._check_labels()
        self._check_head()
        check_channels(self)
        check_statistics(self.preprocessing, self.model.in_channels)
        parent = self.continue_from
        if parent and not self.resume and Path(parent) not in Path(self.model.weights).parents:
            raise bad_value(
                "continue_from",
                f"{parent} beside other weights, {self.model.weights}",
                "the key on the command line, where it also sets the weights and the length",
                "Leave it out of the recipe",
            )
        if self.dataset.accept_changes and self.resume is None and self.continue_from is None:
            raise bad_value(
                "dataset.accept_changes",
                "true without resume or continue_from",
                "false: without them no image is refused as changed",
            )
        self._check_rates()
        if self.average.method != "none" and self.tuning.solver == "lbfgs":
            raise bad_value(
                "average.method",
                self.average.method,
                "none with tuning.solver=lbfgs, which has no steps to average over",
            )
        averaged = self.average.method != "none" and self.optimizer.name == "schedule_free"
        if averaged:
            raise bad_value(
                "average.method",
                self.average.method,
                "none with optimizer=schedule_free, which averages the weights itself",
            )

    def _check_rates(self) -> None:
        """Check that the schedule rises to its peak and falls from it."""
        peak = self.optimizer.peak(self.train.batch_size)
        schedule = self.schedule
        warms_up = schedule.warmup_epochs or schedule.warmup_steps or schedule.warmup_examples
        rates = {"min_lr": schedule.min_lr, "warmup_lr": schedule.warmup_lr if warms_up else None}
        above = {name: rate for name, rate in rates.items() if rate is not None and rate > peak}
        for name, rate in above.items():
            scaled = " scaled to the batch" if self.optimizer.lr_batch_size else ""
            lower = " ".join(f"schedule.{one}={peak:g}" for one in above)
            raise bad_value(
                f"schedule.{name}",
                rate,
                f"at most {peak:g}, which is optimizer.base_lr{scaled}",
                f"Set {lower}, or a higher optimizer.base_lr.",
            )

    def _check_labels(self) -> None:
        """Check that loss, tuning method and sampling fit each other."""
        dataset, loss, tuning = self.dataset, self.loss, self.tuning
        evened = loss.class_weights != "none" or loss.logit_adjustment > 0
        if dataset.sampling == "balanced" and evened:
            raise bad_value(
                "dataset.sampling",
                "balanced beside loss.class_weights or loss.logit_adjustment",
                "only one of them: together they favour rare classes twice",
            )
        if loss.class_weights != "none" and loss.logit_adjustment:
            raise bad_value(
                "loss.logit_adjustment",
                f"{loss.logit_adjustment:g} beside loss.class_weights={loss.class_weights}",
                "only one of them: together they favour rare classes twice",
            )
        plain = not evened and loss.name != "bce" and dataset.sampling == "all"
        if tuning.solver == "lbfgs" and not plain:
            raise bad_value(
                "tuning.solver",
                "lbfgs beside another loss, class weights or balanced sampling",
                "sgd with these choices: L-BFGS solves plain logistic regression",
                "Set tuning.solver=sgd.",
            )
        if tuning.cache_features and dataset.columns.weight:
            raise bad_value(
                "dataset.columns.weight",
                f"{dataset.columns.weight} with tuning.cache_features=true",
                "null: cached features have no weights",
                "Set tuning.cache_features=false.",
            )

    def _check_head(self) -> None:
        """Check that tuning and export formats support the head."""
        if self.head.name == "batchnorm_linear" and self.tuning.method != "linear_probe":
            raise bad_value(
                "head.name",
                f"batchnorm_linear with tuning.method={self.tuning.method}",
                "tuning=linear_probe: its statistics are those of a frozen backbone's features",
                "Set tuning=linear_probe, or choose another head.",
            )
        if self.tuning.solver == "lbfgs" and self.head.name != "linear":
            raise bad_value(
                "head.name",
                f"{self.head.name} with tuning.solver=lbfgs",
                "linear: L-BFGS solves plain logistic regression",
                "Set tuning.solver=sgd.",
            )
        self.head.check_export(self.export)


def register() -> None:
    """Register the schema in Hydra, under the name that ``conf/config.yaml`` lists first."""
    ConfigStore.instance().store(name="schema", node=Config)


def from_hydra(composed: DictConfig) -> Config:
    """Return the composed configuration as checked objects.

    Raises:
        UserError: the configuration has no types, a mandatory value is missing, a value is out of
            range, or a key was added that no class has (``+key=value`` passes Hydra's own check).
    """
    if OmegaConf.get_type(composed) is not Config:
        raise bad_value(
            "-cn",
            "a recipe that does not begin with our configuration",
            "a recipe that changes our configuration",
            "Begin the file with the line  defaults: [config, _self_]",
        )
    for path in sorted(OmegaConf.missing_keys(composed)):
        options = sorted(one.stem for one in (data_folder("conf") / path).glob("*.yaml"))
        option = "none" if "none" in options else "…"
        raise bad_value(path, "nothing", f"one of {', '.join(options)}" if options else "a value",
                        f"Add {path}={option} to the command.")  # fmt: skip
    for name in Config.__dataclass_fields__:
        if name not in composed:
            raise bad_value(name, "nothing", "a value", f"leave out ~{name}")
    if composed.resume is not None:  # an older version may have made the run
        composed = without_effect(composed)
    composed = settled(composed)
    config = cast("Config", OmegaConf.to_object(composed))
    _refuse_other_keys(config, "")
    return config


def without_effect(config: DictConfig) -> DictConfig:
    """Return a saved configuration after `reset_without_effect`."""
    return reset_without_effect(config, OmegaConf.structured(Config))


def _refuse_other_keys(node: Any, prefix: str) -> None:
    names = [item.name for item in dataclasses.fields(node)]
    for name, value in vars(node).items():
        if value == MISSING:  # removed on the command line, as by ~train
            raise bad_value(f"{prefix}{name}", "nothing", "a value", f"leave out ~{prefix}{name}")
        if name not in names:
            raise bad_value(f"{prefix}{name}", repr(value), "a known key", suggest(name, names))
        if dataclasses.is_dataclass(value):
            _refuse_other_keys(value, f"{prefix}{name}.")
