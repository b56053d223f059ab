"""Where metrics are written besides ``metrics.jsonl``."""

from __future__ import annotations

from dataclasses import dataclass, field

from cait_finetune.config.checks import one_of, within
from cait_finetune.errors import bad_value


@dataclass
class WandbConfig:
    """Weights & Biases, and how a run is named there.

    `mode` ``auto`` is online when a key is found and the service answers, else offline: everything is
    kept in the run directory, to be uploaded later. ``online`` is the same with a warning when it
    cannot be. `log_model` uploads the best checkpoint and the export. The end of a run waits
    `finish_timeout` seconds for what is not uploaded yet.
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
    """A list's is in its factory."""
    return getattr(WandbConfig, key, [])


@dataclass
class LoggerConfig:
    """Which loggers a run has; any number of them, ``'logger=[wandb,csv]'``."""

    csv: bool = False
    tensorboard: bool = False
    wandb: WandbConfig = field(default_factory=WandbConfig)
