"""Build the loggers of a run from the configuration."""

from __future__ import annotations

from rich.console import Console

from cait_finetune.config import LoggerConfig
from cait_finetune.loggers.csv_files import CsvFiles
from cait_finetune.loggers.fan_out import Loggers
from cait_finetune.loggers.logger import Logger
from cait_finetune.loggers.tensorboard import TensorBoard
from cait_finetune.loggers.wandb_run import WandbRun
from cait_finetune.runs.directory import RunDirectory


def build_loggers(config: LoggerConfig, run: RunDirectory, console: Console) -> Loggers:
    """Return the loggers that the configuration enables."""
    loggers: list[Logger] = []
    if config.csv:
        loggers.append(CsvFiles(run.root))
    if config.tensorboard:
        loggers.append(TensorBoard(run.tensorboard))
    if config.wandb.enabled:
        loggers.append(WandbRun(config.wandb, run.root, console))
    return Loggers(loggers)
