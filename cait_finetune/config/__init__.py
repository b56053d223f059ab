"""The configuration: the type, range and meaning of every key. ``conf/`` has most defaults.

Hydra validates names and types against these classes (`register`). Their ``__post_init__`` checks
ranges when `from_hydra` turns the composed configuration into objects.
"""

from cait_finetune.config.augment import AugmentConfig
from cait_finetune.config.data import ColumnsConfig, DatasetConfig, SplitsConfig
from cait_finetune.config.head import HeadConfig
from cait_finetune.config.logger import LoggerConfig, WandbConfig
from cait_finetune.config.loss import LossConfig
from cait_finetune.config.model import ModelConfig, TuningConfig
from cait_finetune.config.optim import OptimizerConfig, ScheduleConfig
from cait_finetune.config.preprocessing import PreprocessingConfig
from cait_finetune.config.results import (
    EXPORT_FORMATS,
    EvaluationConfig,
    ExportConfig,
    LrFindConfig,
)
from cait_finetune.config.root import Config, from_hydra, register
from cait_finetune.config.settled import PATH_KEYS, with_absolute_paths
from cait_finetune.config.task import TaskConfig
from cait_finetune.config.train import (
    AverageConfig,
    CheckpointConfig,
    DebugConfig,
    DistributionConfig,
    TrainConfig,
)

__all__ = [
    "EXPORT_FORMATS",
    "PATH_KEYS",
    "AugmentConfig",
    "AverageConfig",
    "CheckpointConfig",
    "ColumnsConfig",
    "Config",
    "DatasetConfig",
    "DebugConfig",
    "DistributionConfig",
    "EvaluationConfig",
    "ExportConfig",
    "HeadConfig",
    "LoggerConfig",
    "LossConfig",
    "LrFindConfig",
    "ModelConfig",
    "OptimizerConfig",
    "PreprocessingConfig",
    "ScheduleConfig",
    "SplitsConfig",
    "TaskConfig",
    "TrainConfig",
    "TuningConfig",
    "WandbConfig",
    "from_hydra",
    "register",
    "with_absolute_paths",
]
