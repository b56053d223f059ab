"""From the configuration to an optimizer."""

from __future__ import annotations

from cait_finetune.config import OptimizerConfig
from cait_finetune.optim.adamw import AdamW
from cait_finetune.optim.parameters import Parameter


def build_optimizer(table: list[Parameter], config: OptimizerConfig) -> AdamW:
    """The optimizer for a table."""
    return AdamW(table, config)
