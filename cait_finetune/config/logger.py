"""Keys of the loggers that write metrics in addition to ``metrics.jsonl``."""

from __future__ import annotations

from dataclasses import dataclass, field

from cait_finetune.config.keys import check_keys, key
from cait_finetune.errors import bad_value


@dataclass
class WandbConfig:
    """Weights & Biases, and the run's names there."""

    enabled: bool = key("Log to Weights & Biases. `logger=wandb` sets it.", False)
    mode: str = key(
        "auto: online if an API key is found and the service answers, otherwise offline. offline: the run "
        "directory keeps all data for a later upload. online: as auto, with a warning if no key is found.",
        "auto", choices=("auto", "online", "offline", "disabled"),
    )  # fmt: skip
    project: str | None = key("Project. null: W&B's default.", None)
    entity: str | None = key("User or team. null: W&B's default.", None)
    name: str | None = key("Name of the run. null: W&B's choice.", None)
    group: str | None = key("Group of runs. null: none.", None)
    tags: list[str] = key("Tags of the run.", [])
    log_model: bool = key("Upload the best checkpoint and the export.", True)
    finish_timeout: float = key("Seconds that the run waits for uploads at its end.", 600.0, low=1)

    def __post_init__(self) -> None:
        check_keys(self, "logger.wandb")
        others = {name: value for name, value in vars(self).items() if value != _default(name)}
        if others and not self.enabled:
            name, value = next(iter(others.items()))
            raise bad_value(
                f"logger.wandb.{name}",
                f"{value} without Weights & Biases",
                "logger=wandb as well",
                "Add logger=wandb, or several: 'logger=[wandb,csv]'",
            )


def _default(name: str) -> object:
    """Return the default of a key. The default of `tags`, an empty list, is in a factory."""
    return getattr(WandbConfig, name, [])


@dataclass
class LoggerConfig:
    """The loggers of a run: any number of them, as in ``'logger=[wandb,csv]'``."""

    csv: bool = key("Write `steps.csv` and `epochs.csv`.", False)
    tensorboard: bool = key("Write TensorBoard events.", False)
    wandb: WandbConfig = field(default_factory=WandbConfig)
