"""The story of a run, from the configuration to a checked SavedModel."""

from __future__ import annotations

import time
from pathlib import Path

import cait_finetune.model as models
from cait_finetune.conclusion import conclude
from cait_finetune.config import Config
from cait_finetune.training import train


def finetune(config: Config, directory: Path) -> dict:
    """Fine-tune as configured, and leave everything in `directory`.

    With `config.resume` the run in `directory` goes on where it stopped.

    Returns:
        What ``result.json`` holds; of a worker that is not the first, nothing.

    Raises:
        UserError: anything that the user can mend; what was finished is kept.
        Interrupted: a signal asked to end; the state is saved.
    """
    started = time.perf_counter()
    trained = train(config, directory)
    result = {}
    if trained.chief:
        # What is scored and exported is a float32 model on one device, however it was trained.
        model = models.from_checkpoint(
            config.model, len(trained.source.class_names), trained.run.best_checkpoint
        )
        result = conclude(config, trained, model, started)
    if trained.agree:
        trained.agree([False])  # the others wait: a worker that leaves would end the cluster
    return result
