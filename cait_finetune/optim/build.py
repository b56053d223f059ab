"""Build an optimizer from the configuration."""

from __future__ import annotations

from cait_finetune.config import OptimizerConfig
from cait_finetune.optim.adamw import AdamW
from cait_finetune.optim.lamb import Lamb
from cait_finetune.optim.lion import Lion
from cait_finetune.optim.optimizer import Optimizer
from cait_finetune.optim.parameters import Parameter
from cait_finetune.optim.schedule_free import ScheduleFreeAdamW
from cait_finetune.optim.sgd import SGD

OPTIMIZERS = {
    "adamw": AdamW,
    "sgd": SGD,
    "lamb": Lamb,
    "lion": Lion,
    "schedule_free": ScheduleFreeAdamW,
}


def build_optimizer(table: list[Parameter], config: OptimizerConfig) -> Optimizer:
    """Return the optimizer for the trained rows of a table. Call it in a strategy's scope."""
    return OPTIMIZERS[config.name](table, config)
