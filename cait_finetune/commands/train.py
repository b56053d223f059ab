"""``cait-finetune key=value …``: fine-tune a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cait_finetune.runtime.signals import preemptible
from cait_finetune.tasks import task_of

if TYPE_CHECKING:
    from cait_finetune.config import Config


def main() -> None:
    """Entry point. Signals are handled first: a scheduler may send one while Hydra is imported."""
    advice = "training had not begun; give the same command again"
    with preemptible("cait_finetune", advice):
        from cait_finetune.cli.hydra_app import run_with_hydra

        run_with_hydra("train", _load)


def _load() -> Callable[[Config, Path], float | None]:
    """Import TensorFlow and return the training function."""
    from cait_finetune import model as models
    from cait_finetune.runtime.tuning import configure_process
    from cait_finetune.workflow.finetune import finetune

    def train(config: Config, directory: Path) -> float | None:
        """Fine-tune and return the best epoch's validation metric, which a sweeper maximises."""
        configure_process(config, models.check(config.model))  # this process does nothing else
        result = finetune(config, directory)
        metric = task_of(config.task).judged_by(config.dataset)
        return result.get(f"validation_{metric}") if result else None

    return train
