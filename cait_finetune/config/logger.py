"""Keys of the loggers that write metrics besides ``metrics.jsonl``."""

from __future__ import annotations

from dataclasses import dataclass, field

from cait_finetune.config.checks import one_of, within
from cait_finetune.errors import bad_value


@dataclass
class WandbConfig:
    """Weights & Biases, and the run's names there.

    `mode` ``auto`` is online if a key is found and the service answers. Otherwise the run is
    offline: the run directory keeps all data for a later upload. ``online`` differs only in a
    warning if no key is found. `log_model` uploads the best checkpoint and the export. At its end,
    the run waits at most `finish_timeout` seconds for uploads.
    """

    enabled: bool = False
    mode: str = "auto"
    project: str | None = None
    entity: str | None = None
    name: str | None = None
    group: str | None = None
    tags: list[str] = field(default_factory=list)
    log_model: bool = True
    finish_timeout: float = 600.0

    def __post_init__(self) -> None:
        one_of("logger.wandb.mode", self.mode, ("auto", "online", "offline", "disabled"))
        within("logger.wandb.finish_timeout", self.finish_timeout, 1)
        others = {key: value for key, value in vars(self).items() if value != _default(key)}
        if others and not self.enabled:
            key, value = next(iter(others.items()))
            raise bad_value(
                f"logger.wandb.{key}",
                f"{value} without Weights & Biases",
                "logger=wandb beside it",
                "with others: 'logger=[wandb,csv]'",
            )


def _default(key: str) -> object:
    """Return the default of a key. The default of `tags`, an empty list, is in a factory."""
    return getattr(WandbConfig, key, [])


@dataclass
class LoggerConfig:
    """The loggers of a run: any number of them, as in ``'logger=[wandb,csv]'``."""

    csv: bool = False
    tensorboard: bool = False
    wandb: WandbConfig = field(default_factory=WandbConfig)
